/** filesystem.Filesystem: entries and watches of a sandbox. */
import { Problem } from "../../base/index.ts";
import type { GuestUser } from "../../guest/index.ts";
import { RpcError } from "./codes.ts";
import {
  depthOf,
  entryInfo,
  listRequest,
  moveRequest,
  pathRequest,
  watcherRequest,
  watchRequest,
} from "./filesystem-messages.ts";
import { resolvePath } from "./paths.ts";
import { type Call, type Methods, parsed } from "./rpc.ts";
import type { SessionState } from "./state.ts";
import { openWatchers, type WatchPlan, type Watchers } from "./watchers.ts";

const WATCHERS = Symbol("watchers");

function watchersOf(state: SessionState): Watchers {
  return state.part(WATCHERS, () => openWatchers(state));
}

async function userOf(call: Call): Promise<GuestUser> {
  return await call.state.session.guest.user(call.user ?? call.state.defaultUser);
}

async function pathOf(call: Call, path: string | null | undefined): Promise<string> {
  return resolvePath(path ?? "", (await userOf(call)).home);
}

async function makeDirectory(call: Call, message: unknown): Promise<object> {
  const { guest } = call.state.session;
  const user = await userOf(call);
  const path = resolvePath(parsed(pathRequest, message).path ?? "", user.home);
  try {
    if (!(await guest.files.makeDirectory(path, user.name))) {
      throw new RpcError("already_exists", `directory already exists: ${path}`);
    }
  } catch (error) {
    // Clients take `already_exists` for a directory that is there.
    if (error instanceof Problem && (error.code === "E_FILE_EXISTS" || error.code === "E_NOT_DIRECTORY")) {
      throw new RpcError("invalid_argument", `path already exists but it is not a directory: ${path}`, { cause: error });
    }
    throw error;
  }
  return { entry: entryInfo(await guest.files.stat(path)) };
}

async function watchPlan(call: Call, message: unknown): Promise<WatchPlan> {
  const { path, recursive, includeEntry } = parsed(watchRequest, message);
  return { path: await pathOf(call, path), recursive: recursive ?? false, includeEntry: includeEntry ?? false };
}

export const FILESYSTEM_METHODS: Methods = {
  "/filesystem.Filesystem/Stat": {
    kind: "unary",
    call: async (call, message) => {
      const path = await pathOf(call, parsed(pathRequest, message).path);
      try {
        return { entry: entryInfo(await call.state.session.guest.files.stat(path)) };
      } catch (error) {
        // Below a file there is nothing, and `exists` is asked for just that.
        if (error instanceof Problem && error.code === "E_NOT_DIRECTORY") {
          throw new RpcError("not_found", error.message, { cause: error });
        }
        throw error;
      }
    },
  },
  "/filesystem.Filesystem/ListDir": {
    kind: "unary",
    call: async (call, message) => {
      const { path, depth } = parsed(listRequest, message);
      const entries = await call.state.session.guest.files.list(await pathOf(call, path), depthOf(depth));
      return entries.length === 0 ? {} : { entries: entries.map(entryInfo) };
    },
  },
  "/filesystem.Filesystem/MakeDir": { kind: "unary", call: makeDirectory },
  "/filesystem.Filesystem/Move": {
    kind: "unary",
    call: async (call, message) => {
      const { source, destination } = parsed(moveRequest, message);
      const { home } = await userOf(call);
      const entry = await call.state.session.guest.files.move(
        resolvePath(source ?? "", home),
        resolvePath(destination ?? "", home),
      );
      return { entry: entryInfo(entry) };
    },
  },
  "/filesystem.Filesystem/Remove": {
    kind: "unary",
    call: async (call, message) => {
      await call.state.session.guest.files.remove(await pathOf(call, parsed(pathRequest, message).path));
      return {};
    },
  },
  "/filesystem.Filesystem/WatchDir": {
    kind: "server-stream",
    deadline: "stream",
    keepalive: { keepalive: {} },
    call: async (call, message, outlet) => await watchersOf(call.state).stream(await watchPlan(call, message), outlet),
  },
  "/filesystem.Filesystem/CreateWatcher": {
    kind: "unary",
    call: async (call, message) => ({ watcherId: await watchersOf(call.state).create(await watchPlan(call, message)) }),
  },
  "/filesystem.Filesystem/GetWatcherEvents": {
    kind: "unary",
    call: async (call, message) => {
      const events = watchersOf(call.state).take(parsed(watcherRequest, message).watcherId ?? "");
      return events.length === 0 ? {} : { events };
    },
  },
  "/filesystem.Filesystem/RemoveWatcher": {
    kind: "unary",
    call: async (call, message) => {
      watchersOf(call.state).remove(parsed(watcherRequest, message).watcherId ?? "");
      return {};
    },
  },
};
