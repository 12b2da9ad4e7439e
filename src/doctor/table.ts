/**
 * Every program of the system that Garth or its tests call, why, and what brings it.
 *
 * `debian` and `freebsd` name packages; "base" is the system itself; undefined means that Garth does not need it there. A Debian
 * that is not broken has its essential packages (util-linux, dpkg): they are listed with the rest, because a container may not.
 */

/**
 * required: no build without it. fetching: some recipes need it. systems: images are checked, machines run and gates probe with it.
 * tests: `npm test` and `npm run bench` compare with it.
 */
export type Need = "required" | "fetching" | "systems" | "tests";
export type Processor = "x86_64" | "aarch64";

export interface Tool {
  /** A program in the system's PATH, or the absolute path of a file. */
  readonly proof: string;
  readonly why: string;
  readonly need: Need;
  readonly debian: string | undefined;
  readonly freebsd: string | undefined;
  /** Of this machine; absent where it makes no difference. */
  readonly processor?: Processor;
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
    proof: "qemu-system-x86_64",
    why: "runs machines, and gates in them",
    need: "systems",
    debian: "qemu-system-x86",
    freebsd: "qemu",
    processor: "x86_64",
  },
  {
    proof: "qemu-system-aarch64",
    why: "runs machines, and gates in them",
    need: "systems",
    debian: "qemu-system-arm",
    freebsd: "qemu",
    processor: "aarch64",
  },
  {
    proof: "/usr/share/OVMF/OVMF_CODE_4M.fd",
    why: "the firmware that images start from",
    need: "systems",
    debian: "ovmf",
    freebsd: undefined,
    processor: "x86_64",
  },
  {
    proof: "/usr/local/share/edk2-qemu/QEMU_UEFI_CODE-x86_64.fd",
    why: "the firmware that images start from",
    need: "systems",
    debian: undefined,
    freebsd: "edk2-qemu-x64",
    processor: "x86_64",
  },
  {
    proof: "/usr/share/AAVMF/AAVMF_CODE.fd",
    why: "the firmware that images start from",
    need: "systems",
    debian: "qemu-efi-aarch64",
    freebsd: undefined,
    processor: "aarch64",
  },
  { proof: "qemu-img", why: "makes disks raw that are not", need: "systems", debian: "qemu-utils", freebsd: "qemu" },
  { proof: "sgdisk", why: "checks partition tables", need: "systems", debian: "gdisk", freebsd: "gdisk" },
  { proof: "fsck.fat", why: "checks EFI system partitions", need: "systems", debian: "dosfstools", freebsd: "dosfstools" },
  { proof: "e2fsck", why: "checks root file systems", need: "systems", debian: "e2fsprogs", freebsd: "e2fsprogs" },
  { proof: "ssh", why: "probes of a gate over SSH", need: "systems", debian: "openssh-client", freebsd: "base" },
  { proof: "ssh-keygen", why: "makes the key of such a probe", need: "systems", debian: "openssh-client", freebsd: "base" },
  { proof: "socat", why: "takes the state of a machine that is saved", need: "systems", debian: "socat", freebsd: "socat" },
  { proof: "debugfs", why: "puts files into imported images", need: "systems", debian: "e2fsprogs", freebsd: "e2fsprogs" },
  { proof: "ip", why: "networks of pools", need: "systems", debian: "iproute2", freebsd: undefined },
  { proof: "bridge", why: "keeps the machines of a pool apart", need: "systems", debian: "iproute2", freebsd: undefined },
  { proof: "nft", why: "lets machines reach what they may", need: "systems", debian: "nftables", freebsd: undefined },
  { proof: "mkfifo", why: "lets other processes type to a machine", need: "systems", debian: "coreutils", freebsd: "base" },
  {
    proof: "bsdtar",
    why: "the reader that archives are checked with",
    need: "tests",
    debian: "libarchive-tools",
    freebsd: "base",
  },
  {
    proof: "mtree",
    why: "checks what was sent to a host, as FreeBSD's does",
    need: "tests",
    debian: "mtree-netbsd",
    freebsd: "base",
  },
  { proof: "grub-fstest", why: "reads UFS2 as a boot loader does", need: "tests", debian: "grub-common", freebsd: "grub2" },
  { proof: "xorriso", why: "reads ISO 9660 as burning programs do", need: "tests", debian: "xorriso", freebsd: "xorriso" },
  {
    proof: "isoinfo",
    why: "shows the names that lie beneath Rock Ridge",
    need: "tests",
    debian: "genisoimage",
    freebsd: "cdrtools",
  },
  { proof: "makefs", why: "is asked for a ZFS root", need: "tests", debian: "makefs", freebsd: "base" },
  {
    proof: "/usr/lib/systemd/boot/efi/systemd-bootx64.efi",
    why: "starts a kernel from a medium that was written",
    need: "tests",
    debian: "systemd-boot-efi",
    freebsd: undefined,
    processor: "x86_64",
  },
  { proof: "fls", why: "reads UFS2 as an examiner does", need: "tests", debian: "sleuthkit", freebsd: "sleuthkit" },
  { proof: "mawk", why: "stands in for FreeBSD's awk", need: "tests", debian: "mawk", freebsd: undefined },
  { proof: "bmake", why: "reads the port's Makefile", need: "tests", debian: "bmake", freebsd: "base" },
  { proof: "systemd-analyze", why: "reads the daemon's unit", need: "tests", debian: "systemd", freebsd: undefined },
  {
    proof: "qemu-aarch64-static",
    why: "runs the program for the other processor",
    need: "tests",
    debian: "qemu-user-static",
    freebsd: undefined,
    processor: "x86_64",
  },
  {
    proof: "/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1",
    why: "the libraries that it runs with",
    need: "tests",
    debian: "libc6-arm64-cross",
    freebsd: undefined,
    processor: "x86_64",
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
  { proof: "mcopy", why: "reads the FAT file systems that were written", need: "tests", debian: "mtools", freebsd: "mtools" },
  { proof: "mke2fs", why: "makes the file systems that are read", need: "tests", debian: "e2fsprogs", freebsd: "e2fsprogs" },
  { proof: "sshd", why: "a guest on this machine", need: "tests", debian: "openssh-server", freebsd: "base" },
  {
    proof: "cloud-localds",
    why: "makes the seeds that ours are compared with",
    need: "tests",
    debian: "cloud-image-utils",
    freebsd: undefined,
  },
  { proof: "cloud-init", why: "reads the seeds that were written", need: "tests", debian: "cloud-init", freebsd: undefined },
  { proof: "python3", why: "what runs in guests, run here", need: "tests", debian: "python3", freebsd: "python3" },
  {
    proof: "/usr/lib/python3/dist-packages/matplotlib",
    why: "draws what a code interpreter shows",
    need: "tests",
    debian: "python3-matplotlib",
    freebsd: undefined,
  },
  {
    proof: "/usr/lib/python3/dist-packages/pandas",
    why: "makes the tables that it shows",
    need: "tests",
    debian: "python3-pandas",
    freebsd: undefined,
  },
  { proof: "pgrep", why: "looks for processes that should be gone", need: "tests", debian: "procps", freebsd: "base" },
  { proof: "dash", why: "a shell that scripts have to run under", need: "tests", debian: "dash", freebsd: "dash" },
  { proof: "tcsh", why: "a login shell that is none of ours", need: "tests", debian: "tcsh", freebsd: "base" },
  { proof: "sfdisk", why: "reads partition tables", need: "tests", debian: "fdisk", freebsd: undefined },
  { proof: "blkid", why: "knows file systems by their labels", need: "tests", debian: "util-linux", freebsd: undefined },
  { proof: "mount", why: "mounts what was written", need: "tests", debian: "mount", freebsd: "base" },
  { proof: "cpio", why: "reads initial RAM disks", need: "tests", debian: "cpio", freebsd: "base" },
  {
    proof: "busybox",
    why: "runs the scripts of guests as guests do",
    need: "tests",
    debian: "busybox-static",
    freebsd: "busybox",
  },
  { proof: "pwck", why: "checks users and groups", need: "tests", debian: "passwd", freebsd: undefined },
  { proof: "script", why: "a shell on a terminal, in place of a guest", need: "tests", debian: "bsdutils", freebsd: "base" },
  { proof: "mandoc", why: "checks the manual page", need: "tests", debian: "mandoc", freebsd: "base" },
];
