import { expect, test } from "bun:test";
import { Problem } from "../base/index.ts";
import { listen } from "./index.ts";

test("serves what the handler answers, on a free port, until it is closed", async () => {
  const listener = listen({ address: "127.0.0.1", port: 0, handle: (request) => new Response(new URL(request.url).pathname) });
  const answer = await fetch(new URL("/hello", listener.url));
  expect(await answer.text()).toBe("/hello");
  await listener.close();
  expect(fetch(new URL("/hello", listener.url))).rejects.toThrow();
});

test("an address that is taken is a problem with a hint", async () => {
  const first = listen({ address: "127.0.0.1", port: 0, handle: () => new Response() });
  const port = Number(new URL(first.url).port);
  expect(() => listen({ address: "127.0.0.1", port, handle: () => new Response() })).toThrow(Problem);
  await first.close();
});
