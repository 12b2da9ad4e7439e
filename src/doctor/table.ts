/**
 * Every program of the system that Garth or its tests call, why, and what brings it.
 *
 * `debian` and `freebsd` name packages; "base" is the system itself; undefined means that Garth does not need it there. A Debian
 * that is not broken has its essential packages (util-linux, dpkg): they are listed with the rest, because a container may not.
 */

/** required: no build without it. fetching: some recipes need it. tests: `npm test` and `npm run bench` compare with it. */
export type Need = "required" | "fetching" | "tests";

export interface Tool {
  /** A program in the system's PATH, or the absolute path of a file. */
  readonly proof: string;
  readonly why: string;
  readonly need: Need;
  readonly debian: string | undefined;
  readonly freebsd: string | undefined;
}

export const TOOLS: readonly Tool[] = [
  { proof: "bwrap", why: "the sandbox of a build on Linux", need: "required", debian: "bubblewrap", freebsd: undefined },
  { proof: "jail", why: "the sandbox of a build on FreeBSD", need: "required", debian: undefined, freebsd: "base" },
  { proof: "mount_nullfs", why: "shows a jail its inputs", need: "required", debian: undefined, freebsd: "base" },
  { proof: "setpriv", why: "drops a build to its numeric user", need: "required", debian: "util-linux", freebsd: undefined },
  { proof: "prlimit", why: "limits on processes and open files", need: "required", debian: "util-linux", freebsd: undefined },
  {
    proof: "unshare",
    why: "namespaces of a build and of a world in the making",
    need: "required",
    debian: "util-linux",
    freebsd: undefined,
  },
  { proof: "flock", why: "one user of apt's lists at a time", need: "required", debian: "util-linux", freebsd: undefined },
  { proof: "mmdebstrap", why: "makes worlds from Debian packages", need: "required", debian: "mmdebstrap", freebsd: undefined },
  {
    proof: "apt-get",
    why: "fetches the packages of a world and Debian's sources",
    need: "required",
    debian: "apt",
    freebsd: undefined,
  },
  { proof: "dpkg-deb", why: "unpacks the packages of a world", need: "required", debian: "dpkg", freebsd: undefined },
  { proof: "tar", why: "moves a world into the store", need: "required", debian: "tar", freebsd: "base" },
  {
    proof: "/etc/ssl/certs/ca-certificates.crt",
    why: "fetchers trust servers by it",
    need: "fetching",
    debian: "ca-certificates",
    freebsd: undefined,
  },
  { proof: "git", why: "fetchGit", need: "fetching", debian: "git", freebsd: "git" },
  { proof: "npm", why: "npmTarball", need: "fetching", debian: "npm", freebsd: "npm" },
  {
    proof: "bsdtar",
    why: "the reader that archives are checked with",
    need: "tests",
    debian: "libarchive-tools",
    freebsd: "base",
  },
  { proof: "zstd", why: "reads the packages that were written", need: "tests", debian: "zstd", freebsd: "base" },
  { proof: "xz", why: "unpacks recorded packages", need: "tests", debian: "xz-utils", freebsd: "base" },
  { proof: "openssl", why: "checks signatures independently", need: "tests", debian: "openssl", freebsd: "base" },
  { proof: "readelf", why: "checks what was read from ELF files", need: "tests", debian: "binutils", freebsd: "base" },
  { proof: "nix-store", why: "checks NARs; the yardstick of the benchmarks", need: "tests", debian: "nix-bin", freebsd: "nix" },
  {
    proof: "shellcheck",
    why: "checks the scripts that plans render",
    need: "tests",
    debian: "shellcheck",
    freebsd: "hs-ShellCheck",
  },
  { proof: "cc", why: "compiles the test programs", need: "tests", debian: "gcc", freebsd: "base" },
  { proof: "/usr/include/stdio.h", why: "the headers they include", need: "tests", debian: "libc6-dev", freebsd: "base" },
  { proof: "make", why: "builds the test programs", need: "tests", debian: "make", freebsd: "base" },
  { proof: "patch", why: "patches the test programs", need: "tests", debian: "patch", freebsd: "base" },
  { proof: "cmake", why: "builds the example with CMake", need: "tests", debian: "cmake", freebsd: "cmake" },
  { proof: "cargo", why: "builds a test crate", need: "tests", debian: "cargo", freebsd: "rust" },
  { proof: "curl", why: "asks the repository's server", need: "tests", debian: "curl", freebsd: "curl" },
  { proof: "mandoc", why: "checks the manual page", need: "tests", debian: "mandoc", freebsd: "base" },
];
