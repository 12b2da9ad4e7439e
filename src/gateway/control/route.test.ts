import { describe, expect, test } from "bun:test";
import { targetOf } from "./route.ts";

const ID = "abcdefghij0123456789";
const to = (path: string, headers: Record<string, string>, domain?: string) => targetOf(new Headers(headers), path, domain);
const sandbox = (port: number, id: string | undefined = ID) => ({ kind: "sandbox", id, port }) as const;
const nobody = { kind: "sandbox", id: undefined, port: 49_983 } as const;

describe("headers", () => {
  test.each([
    ["/files", { "E2b-Sandbox-Id": ID, "E2b-Sandbox-Port": "49983" }, sandbox(49_983)],
    ["/execute", { "E2b-Sandbox-Id": ID, "E2b-Sandbox-Port": "49999" }, sandbox(49_999)],
    ["/process.Process/List", { "E2b-Sandbox-Id": ID }, sandbox(49_983)],
    ["/execute", { "E2b-Sandbox-Id": ID }, sandbox(49_999)],
    ["/contexts/x/restart", { "E2b-Sandbox-Id": ID }, sandbox(49_999)],
    ["/metrics", { "E2b-Sandbox-Id": ID }, sandbox(49_983)],
    ["/index.html", { "E2b-Sandbox-Id": ID, "E2b-Sandbox-Port": "8000" }, sandbox(8000)],
    ["/files", { "E2b-Sandbox-Id": ID, "E2b-Sandbox-Port": "0" }, nobody],
    ["/files", { "E2b-Sandbox-Id": ID, "E2b-Sandbox-Port": "65536" }, nobody],
    ["/files", { "E2b-Sandbox-Id": ID, "E2b-Sandbox-Port": "80x" }, nobody],
    ["/files", { "E2b-Sandbox-Id": "../../etc/passwd" }, nobody],
    ["/files", { "E2b-Sandbox-Id": `${ID}x` }, nobody],
    ["/files", { "E2b-Sandbox-Id": "" }, nobody],
    // Headers go before the host name.
    ["/x", { "E2b-Sandbox-Id": ID, "E2b-Sandbox-Port": "8000", Host: `9000-${"z".repeat(20)}.sbx.localhost` }, sandbox(8000)],
  ])("%s with %p", (path, headers, target) => {
    expect(to(path, headers)).toEqual(target);
  });
});

describe("host names", () => {
  test.each([
    [`8000-${ID}.sbx.example.org`, "sbx.example.org", sandbox(8000)],
    [`8000-${ID}.sbx.localhost:3000`, "sbx.localhost:3000", sandbox(8000)],
    [`8000-${ID}.SBX.localhost:3000`, "sbx.localhost", sandbox(8000)],
    [`49983-${ID}.anything.at.all`, undefined, sandbox(49_983)],
    [`8000-${ID}.elsewhere.org`, "sbx.example.org", { kind: "control" }],
    [`0-${ID}.sbx.example.org`, "sbx.example.org", nobody],
    [`8000-short.sbx.example.org`, "sbx.example.org", { kind: "control" }],
    [`8000-${ID}`, undefined, { kind: "control" }],
    ["127.0.0.1:3000", undefined, { kind: "control" }],
  ] as const)("%s of %s", (host, domain, target) => {
    expect(to("/", { Host: host }, domain)).toEqual(target);
  });
});

test.each([
  ["/files", { kind: "signed-file" }],
  ["/health", { kind: "control" }],
  ["/metrics", { kind: "control" }],
  ["/v2/sandboxes", { kind: "control" }],
  ["/process.Process/Start", nobody],
  ["/filesystem.Filesystem/Stat", nobody],
  ["/execute", nobody],
  ["/contexts", nobody],
] as const)("%s without a name", (path, target) => {
  expect(to(path, {})).toEqual(target);
});
