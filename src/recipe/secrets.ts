/**
 * Secrets have no field in a derivation: the store is readable by everybody. A value that looks like one is refused.
 *
 * Looked for are forms that cannot be anything else: PEM private keys (RFC 7468), age identities, the head of an OpenSSH private
 * key in base64 ("openssh-key-v1"), AWS secret keys beside their name, tokens of GitHub, GitLab and Slack, passwords in URLs.
 */
import { Problem } from "../base/index.ts";
import { renderLocation } from "./location.ts";
import type { Derivation, Recipe } from "./types.ts";

const FORMS: readonly (readonly [string, RegExp])[] = [
  ["a private key in PEM", /-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----/],
  ["an age identity", /AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{20}/i],
  ["an OpenSSH private key", /b3BlbnNzaC1rZXktdjE/],
  ["an AWS secret key", /(?:aws|secret)_?(?:secret)?_?access_?key["'\s:=]{1,8}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])/i],
  ["a GitHub token", /\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50})/],
  ["a GitLab token", /\bglpat-[A-Za-z0-9_-]{20}/],
  ["a Slack token", /\bxox[abprs]-[A-Za-z0-9-]{20}/],
  ["a URL with a password", /[a-z]:\/\/[^/\s:@"']+:[^/\s@"']+@/i],
];

/** Every text with one of the forms has one of these, and hardly any other has: ten thousand texts are looked at in a run. */
const MARKS =
  /PRIVATE KEY-----|AGE-SECRET-KEY-|age-secret-key-|b3BlbnNzaC1rZXktdjE|ccess_?[Kk]ey|CCESS_?KEY|gh[pousr]_|github_pat_|glpat-|xox|:\/\//;

/** What the text looks like, or undefined. */
export function secretIn(text: string): string | undefined {
  if (!MARKS.test(text)) return undefined;
  return FORMS.find(([, form]) => form.test(text))?.[0];
}

/** @throws Problem E_SECRET_IN_DERIVATION, which names the field and never shows the value */
export function refuseSecrets(derivation: Pick<Derivation, "name" | "builder">, declared?: Pick<Recipe, "location">): void {
  const { argv, env } = derivation.builder;
  for (let index = 0; index < argv.length; index++) {
    const form = secretIn(argv[index] ?? "");
    if (form !== undefined) throw refusal(derivation, `builder.argv[${index}]`, form, declared);
  }
  for (const name of Object.keys(env)) {
    const value = env[name] ?? "";
    const form = value.length < 16 ? undefined : secretIn(`${name}=${value}`);
    if (form !== undefined) throw refusal(derivation, `builder.env.${name}`, form, declared);
  }
}

function refusal(
  { name }: Pick<Derivation, "name">,
  field: string,
  form: string,
  declared: Pick<Recipe, "location"> | undefined,
): Problem {
  const location = declared?.location;
  return new Problem({
    code: "E_SECRET_IN_DERIVATION",
    message: `${name}: ${field} holds what looks like ${form}`,
    hint: "a derivation can be read by everybody who can read the store; give a running system its secrets when it starts, never to a build",
    ...(location === undefined ? {} : { where: renderLocation(location) }),
    exit: 2,
  });
}
