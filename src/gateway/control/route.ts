/**
 * Whom a request is for: the control plane, or a port of one sandbox. Looks at headers and path alone.
 *
 * E2B's SDK names the sandbox in headers, browsers in the host name; a signed URL of a file names none, and its signature tells.
 */
export const ENVD_PORT = 49_983;
export const INTERPRETER_PORT = 49_999;

export type Target =
  | { readonly kind: "control" }
  /** `id` undefined: it is no name that a sandbox could have. */
  | { readonly kind: "sandbox"; readonly id: string | undefined; readonly port: number }
  | { readonly kind: "signed-file" };

const ID = /^[a-z0-9]{20}$/;
const HOST = /^(\d{1,5})-([a-z0-9]{20})\.(.+)$/;
const INTERPRETER_PATH = /^\/(?:execute|contexts(?:\/.*)?)$/;
const SANDBOX_PATH = /^\/(?:(?:process\.Process|filesystem\.Filesystem)\/.*|execute|contexts(?:\/.*)?|files\/compose|envs|init)$/;

export function isSandboxId(text: string): boolean {
  return ID.test(text);
}

function portOf(text: string | null, path: string): number | undefined {
  if (text === null || text === "") return INTERPRETER_PATH.test(path) ? INTERPRETER_PORT : ENVD_PORT;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}

/** `domain` undefined: any domain will do, the id says enough. */
export function targetOf(headers: Headers, path: string, domain: string | undefined): Target {
  const named = headers.get("e2b-sandbox-id");
  if (named !== null) {
    const port = portOf(headers.get("e2b-sandbox-port"), path);
    return port === undefined
      ? { kind: "sandbox", id: undefined, port: ENVD_PORT }
      : { kind: "sandbox", id: ID.test(named) ? named : undefined, port };
  }
  const host = HOST.exec(headers.get("host")?.toLowerCase() ?? "");
  if (host?.[3] !== undefined && (domain === undefined || withoutPort(host[3]) === withoutPort(domain.toLowerCase()))) {
    const port = portOf(host[1] ?? null, path);
    return { kind: "sandbox", id: port === undefined ? undefined : host[2], port: port ?? ENVD_PORT };
  }
  if (path === "/files") return { kind: "signed-file" };
  return SANDBOX_PATH.test(path) ? { kind: "sandbox", id: undefined, port: ENVD_PORT } : { kind: "control" };
}

/** What stands before the gateway may listen on another port than the one that clients see. */
function withoutPort(host: string): string {
  return host.replace(/:\d+$/, "");
}
