/** What FreeBSD's kernel says of its disks: the sysctl(8) kern.geom.confxml, as g_conf_specific() of sys/geom/geom_dump.c writes it. Pure. */

export interface GeomProvider {
  readonly id: string;
  /** Below /dev: "da0", "da0p2", "gpt/garth-root". */
  readonly name: string;
  /** Of the geom that provides it: "DISK", "MD", "PART", "LABEL", "ELI", "MIRROR". */
  readonly class: string;
  /** How often it is open for reading, for writing, and exclusively: "r1w1e2". */
  readonly mode: string;
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  /** Ids of the providers it is made of. */
  readonly consumes: readonly string[];
}

export function geomProviders(xml: string): readonly GeomProvider[] {
  return blocks(xml, "class").flatMap((ofClass) => {
    const name = text(ofClass, "name");
    return blocks(ofClass, "geom").flatMap((geom) => {
      const consumes = blocks(geom, "consumer").flatMap((consumer) => {
        const [, id] = /<provider ref="([^"]*)"\/>/.exec(consumer) ?? [];
        return id === undefined ? [] : [id];
      });
      return blocks(geom, "provider").map((provider) => ({
        id: /^<provider id="([^"]*)"/.exec(provider)?.[1] ?? "",
        name: text(provider, "name"),
        class: name,
        mode: text(provider, "mode"),
        sizeBytes: Number(text(provider, "mediasize")),
        sectorBytes: Number(text(provider, "sectorsize")),
        consumes,
      }));
    });
  });
}

/** Elements that have an id; none of them lies in one of its own kind. */
function blocks(xml: string, element: string): readonly string[] {
  return [...xml.matchAll(new RegExp(`<${element} id="[^]*?</${element}>`, "g"))].map(([block]) => block);
}

/** The first of that name. */
function text(xml: string, element: string): string {
  const [, found = ""] = new RegExp(`<${element}>([^<]*)</${element}>`).exec(xml) ?? [];
  return found.replaceAll(/&#x([0-9A-F]+);/g, (_, hex: string) => String.fromCodePoint(Number.parseInt(hex, 16)));
}
