/** Small pieces of POSIX sh. */

const PLAIN = /^[A-Za-z0-9_@%+=:,./-]+$/;

/** One word for the shell, taken as it is. */
export function quote(text: string): string {
  return PLAIN.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

export type Piece = { readonly literal: string } | { readonly variable: string };

/** Splits at `$name` and `${name}`; `$$` is a dollar. */
export function pieces(text: string): readonly Piece[] {
  const found: Piece[] = [];
  let literal = "";
  let end = 0;
  for (const match of text.matchAll(/\$(?:\$|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})/g)) {
    literal += text.slice(end, match.index);
    end = match.index + match[0].length;
    const variable = match[1] ?? match[2];
    if (variable === undefined) {
      literal += "$";
      continue;
    }
    if (literal !== "") found.push({ literal });
    found.push({ variable });
    literal = "";
  }
  literal += text.slice(end);
  if (literal !== "" || found.length === 0) found.push({ literal });
  return found;
}

/** One word for the shell, in which the variables are filled in when it runs. */
function word(text: string): string {
  if (!text.includes("$")) return quote(text);
  return pieces(text)
    .map((piece) => ("variable" in piece ? `"\${${piece.variable}}"` : quote(piece.literal)))
    .join("");
}

/** Words after a command: each with a space before it. */
export function words(texts: readonly string[]): string {
  return texts.map((text) => ` ${word(text)}`).join("");
}
