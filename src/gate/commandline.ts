/**
 * Lines in which a boot repeats its command line. Whatever was to be seen on the console may stand there as an argument
 * (`init=/frx/store/...`, `systemd.setenv=...`), so that none of them is ever taken for a required marker.
 *
 * Linux prints "Command line: ", "Kernel command line: " (since 6.19 wrapped at spaces, the prefix repeated on each piece) and
 * "Unknown kernel command line parameters "; init/main.c, arch/x86/kernel/setup.c. dracut and systemd repeat it after their
 * name, Xen after "(XEN) ". FreeBSD's loader.efi prints "Command line arguments: ", kernels without a loader "Kernel args: ".
 * Before any of them may stand, up to twelve of them: a level, the kernel's stamp and caller, a date and a host, and names with colons.
 */
const PREFIX = [
  String.raw`<\d+>`,
  String.raw`\[[^\]]{0,40}\]`,
  String.raw`\(XEN\)`,
  String.raw`[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+`,
  String.raw`\d{4}-\d\d-\d\dT\S+ \S+`,
  String.raw`[A-Za-z][\w.@-]{0,60}(?:\[\d+\])?:`,
].join("|");
const WORDS = [
  String.raw`(?:kernel |boot |saved )?command[ -]?line(?: parameters?| arguments?| options?)?\s*[:=]`,
  String.raw`unknown (?:kernel )?command line parameters?\b`,
  String.raw`(?:kernel |boot )?(?:cmdline|bootargs)\s*[:=]`,
  String.raw`(?:kernel|boot) arg(?:ument)?s\s*[:=]`,
  "BOOT_IMAGE=",
].join("|");
const REPEATED = new RegExp(`^\\s*(?:(?:${PREFIX})\\s*){0,12}(?:${WORDS})`, "iu");

export function repeatsCommandLine(line: string): boolean {
  return REPEATED.test(line);
}

/** A piece that ends in a backslash goes on in the next line. */
export function goesOn(line: string): boolean {
  return line.endsWith("\\");
}
