/**
 * GNU hello, from its source to a machine that has booted with it.
 *
 *     garth build examples/hello#hello      build it, in a sandbox
 *     garth ship examples/hello             build it, package it, publish the package, install that on a system, boot the system, and
 *                                           hand a machine of it out of a pool
 *     garth machine run '#greeter'          (here) that system as a machine, its console in the terminal
 *
 * `import ... from "garth"` needs no installation: garth gives the file its own module when it reads it.
 */
import { alternatives, autotools, debianSource, fetchurl, gate, package_, poolGuest, repository, system, template } from "garth";
import { boot, kernel, runtime } from "../guest.ts";
import { buildRoot } from "../world.ts";

/** What both versions below have in common. */
const common = {
  name: "hello",
  // Run hello's own test suite as part of the build: when it fails, so does the build.
  check: true,
  // Leave the path of the source in the output: who has the program can find what it was made from.
  keepSource: true,
  // Run the result in a fresh sandbox that holds nothing but what it needs, and compare what it prints.
  probe: { argv: ["bin/hello"], expect: "Hello, world!" },
  metadata: {
    comment: "Program that prints a friendly greeting",
    description:
      "GNU hello prints a friendly greeting. It shows how a program of the GNU project is made: with\noptions, translations, a manual and a test suite.",
    homepage: "https://www.gnu.org/software/hello/",
    licenses: ["GPLv3+"],
    categories: ["misc"],
  },
  ...buildRoot,
} as const;

/** The current release, from GNU's own mirrors. Mirrors are tried in order; the sum is checked before the file is used. */
const release = autotools({
  ...common,
  version: "2.12.3",
  source: fetchurl({
    urls: [
      "https://ftpmirror.gnu.org/gnu/hello/hello-2.12.3.tar.gz",
      "https://ftp.gnu.org/gnu/hello/hello-2.12.3.tar.gz",
      "https://mirrors.kernel.org/gnu/hello/hello-2.12.3.tar.gz",
    ],
    sha256: "0d5f60154382fee10b114a1c34e785d8b1f492073ae2d3a6f7b147687b366aa0",
  }),
});

/** The release that Debian carries, for a machine that reaches a Debian mirror and nothing else. */
const debian = autotools({
  ...common,
  version: "2.10",
  source: debianSource({
    package: "hello",
    version: "2.10",
    file: "hello_2.10.orig.tar.gz",
    sha256: "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b",
  }),
});

/** The first whose source can be had. The build says which one it took, and so does its receipt. */
export const hello = alternatives(release, debian);

/** A repository for pkg(8). A bare recipe in it stands for a package of what it builds; `package_` says more about one. */
export const examples = repository({
  name: "examples",
  packages: [package_(hello, { messages: [{ type: "install", message: "Say hello: run `hello`." }] })],
});

/**
 * A machine that has hello, out of the signed repository. Its image holds the runtime slice, the kernel's, and what hello needs; and what
 * makes it a machine that pools hand out: an SSH server, and a look at the seed disk that says who it is.
 */
export const greeter = system({
  ...poolGuest({ init: "busybox" }),
  name: "greeter",
  kernel,
  bootloader: boot,
  base: [runtime],
  install: [{ repository: examples, packages: ["hello"] }],
});

/** It has booted when its services run, nothing on the console says otherwise, and hello greets inside. */
export const greets = gate({
  system: greeter,
  timeoutS: 180,
  probes: [{ command: "hello", expect: "Hello, world!" }],
});

/** What passed that gate, as something to clone. The line ends with a machine of it: taken out of a pool, asked, given back. */
export const greeterTemplate = template({
  system: greeter,
  sidecar: { bootMode: "direct" },
  description: "A machine that greets.",
});
