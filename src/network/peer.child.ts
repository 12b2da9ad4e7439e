/**
 * Somebody in a network namespace who talks and listens, for tests. Commands come as lines on standard input, events go as lines to
 * standard output:
 *
 *     listen ADDRESS PORT            listening
 *     connect ID ADDRESS PORT        open ID | failed ID ERRNO;  then data ID TEXT, closed ID
 *     send ID TEXT                                               the server echoes:  accepted ADDRESS, data ADDRESS TEXT
 *     push TEXT                      from the server to whoever is connected
 *     receive ADDRESS PORT           receiving;  then datagram ADDRESS TEXT
 *     datagram FROM TO PORT TEXT     sent
 */
import { createSocket } from "node:dgram";
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";

const say = (...words: readonly (string | undefined)[]): void => void process.stdout.write(`${words.join(" ")}\n`);
const outgoing = new Map<string, Socket>();
const incoming = new Set<Socket>();

const errnoOf = (error: Error): string => ("code" in error ? String(error.code) : error.message);

const verbs: Readonly<Record<string, (...words: readonly string[]) => void>> = {
  listen: (address = "", port = "") => {
    const server = createServer((socket) => {
      incoming.add(socket);
      const from = socket.remoteAddress;
      say("accepted", from);
      socket.on("data", (data) => {
        say("data", from, data.toString());
        socket.write(`echo ${data.toString()}`);
      });
      socket.on("error", (error) => say("broken", errnoOf(error)));
      socket.on("close", () => incoming.delete(socket));
    });
    server.listen(Number(port), address, () => say("listening"));
  },
  connect: (id = "", address = "", port = "") => {
    let open = false;
    const socket = connect(Number(port), address, () => {
      open = true;
      say("open", id);
    });
    outgoing.set(id, socket);
    socket.on("data", (data) => say("data", id, data.toString()));
    socket.on("error", (error) => say(open ? "broken" : "failed", id, errnoOf(error)));
    socket.on("close", () => say("closed", id));
  },
  send: (id = "", text = "") => void outgoing.get(id)?.write(text),
  push: (text = "") => {
    for (const socket of incoming) socket.write(text);
  },
  receive: (address = "", port = "") => {
    const socket = createSocket("udp4");
    socket.on("message", (text, from) => say("datagram", from.address, text.toString()));
    socket.bind(Number(port), address, () => say("receiving"));
  },
  datagram: (from = "", to = "", port = "", text = "") => {
    const socket = createSocket("udp4");
    // What the kernel has to say of an earlier datagram is no event of these tests.
    socket.on("error", () => undefined);
    socket.bind(0, from, () =>
      socket.send(text, Number(port), to, () => {
        say("sent");
        socket.close();
      }),
    );
  },
};

createInterface({ input: process.stdin }).on("line", (line) => {
  const [verb = "", ...words] = line.split(" ");
  verbs[verb]?.(...words);
});
say("ready");
