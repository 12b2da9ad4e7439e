/** Puts the resident (resident.py) into a guest that is going to be snapshotted, once what its boot began has come to rest. */
import { Problem, sha256 } from "../base/index.ts";
import type { Guest } from "../guest/index.ts";
import type { Host } from "../host/index.ts";
import { CHANNEL_NAME, openChannel } from "./channel.ts";
import program from "./resident.py" with { type: "text" };
import { unsupported } from "./errors.ts";

export const RESIDENT_DIGEST = sha256(program);
/** cloud-init and a system's last services: under emulation half a minute. */
const SETTLE_LIMIT_MS = 300_000;
const START_LIMIT_MS = 60_000;
/** What is said before it listens is lost. */
const PING_LIMIT_MS = 100;
const PINGS_MAX = 600;
const NO_PORT = 69;
const NO_PYTHON = 70;

/** What runs at a boot and then no more: each clone would run the rest of it again. Nothing of it is there in a small guest. */
const SETTLE = `
if command -v cloud-init >/dev/null; then cloud-init status --wait </dev/null >/dev/null 2>&1; fi
if [ -d /run/systemd/system ]; then systemctl is-system-running --wait </dev/null >/dev/null 2>&1; fi
`;

/** Programs that a first command needs are in memory afterwards, and in that of every clone. */
const START = `
port=/dev/virtio-ports/${CHANNEL_NAME}
if ! [ -e "$port" ]; then
    for each in /sys/class/virtio-ports/*; do
        [ "$(cat "$each/name" 2>/dev/null)" = ${CHANNEL_NAME} ] && port=/dev/\${each##*/}
    done
fi
[ -c "$port" ] || exit ${NO_PORT}
python=$(command -v python3) || exit ${NO_PYTHON}
mkdir -p /run/garth
if [ -e /run/garth/resident.pid ]; then kill "$(cat /run/garth/resident.pid)" 2>/dev/null; fi
cat >/run/garth/resident.py
setsid "$python" -S -E /run/garth/resident.py "$port" </dev/null >/run/garth/resident.log 2>&1 &
echo $! >/run/garth/resident.pid
if command -v bash >/dev/null; then bash -lc true; fi
sync
`;

/** @throws Problem E_SNAPSHOT_UNSUPPORTED, E_GUEST_SILENT */
export async function startResidentIn(
  host: Host,
  guest: Guest,
  options: { readonly name: string; readonly directory: string; readonly settle: boolean; readonly signal?: AbortSignal },
): Promise<void> {
  const { name, directory, settle, signal } = options;
  const started = await guest.run({
    argv: ["/bin/sh", "-c", settle ? `${SETTLE}${START}` : START],
    input: program,
    timeoutMs: settle ? SETTLE_LIMIT_MS + START_LIMIT_MS : START_LIMIT_MS,
  });
  if (started.code === NO_PORT) throw unsupported(name, "its kernel shows no virtio port");
  if (started.code === NO_PYTHON) throw unsupported(name, "there is no python3 in it, by which a clone would learn who it is");
  if (started.code !== 0)
    throw new Problem({ code: "E_GUEST_REFUSED", message: `preparing ${name} for a snapshot`, details: [started.stderr.trim()] });
  const channel = await openChannel(host, name, directory);
  try {
    for (let attempt = 1; ; attempt += 1) {
      signal?.throwIfAborted();
      try {
        return await channel.order({ do: "ping" }, PING_LIMIT_MS);
      } catch (error) {
        if (attempt < PINGS_MAX) continue;
        const log = await guest.run({ argv: ["cat", "/run/garth/resident.log"], timeoutMs: START_LIMIT_MS });
        throw new Problem({
          code: "E_GUEST_SILENT",
          message: `preparing ${name} for a snapshot: its resident does not answer`,
          details: Buffer.from(log.stdout).toString().trim().split("\n"),
          cause: error,
        });
      }
    }
  } finally {
    channel.close();
  }
}
