/**
 * The user namespace that sandboxes of root share: it maps every id (see `ID_MAP`) and allows no namespaces below itself, so
 * that no builder can make itself root of one. Made once, in 3 ms; an open descriptor keeps it.
 */
import { Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { ID_MAP } from "./bubblewrap-script.ts";

function refused(words: string): Problem {
  return new Problem({
    code: "E_SANDBOX_UNAVAILABLE",
    message: "making the user namespace of the sandboxes: the kernel or unshare(1) refused",
    details: words.trimEnd().split("\n"),
    hint: "user namespaces must be allowed (sysctl user.max_user_namespaces), and root must be the machine's own, not a container's",
    exit: 3,
  });
}

/** Never answers with less than a descriptor; the process that made the namespace is gone by then. */
export async function makeUserNamespace(host: Host): Promise<number> {
  const ready = Promise.withResolvers<void>();
  let printed = "";
  const decoder = new TextDecoder();
  const holder = host.spawn(
    {
      argv: [
        "unshare",
        "--user",
        "--keep-caps",
        "sh",
        "-c",
        "echo 0 >/proc/sys/user/max_user_namespaces && echo ready && exec sleep 10",
      ],
      doing: "making the user namespace of the sandboxes",
    },
    {
      onOutput: (chunk) => {
        printed += decoder.decode(chunk, { stream: true });
        if (printed === "ready\n") ready.resolve();
      },
    },
  );
  try {
    await Promise.race([ready.promise, holder.exited]);
    if (printed !== "ready\n") throw refused(printed);
    try {
      for (const map of ["uid_map", "gid_map"]) host.files.writeFile(`/proc/${holder.pid}/${map}`, ID_MAP);
    } catch (error) {
      throw refused(error instanceof Error ? error.message : String(error));
    }
    return host.files.open(`/proc/${holder.pid}/ns/user`, "r");
  } finally {
    holder.kill("SIGKILL");
    await holder.exited;
  }
}
