/** Somebody's repository of packages, as a project file says it. */
import { besideCaller, type Check, Fault, filledText, isRecord, oneOf, shape, type Site } from "../recipe/index.ts";
import type { RemoteRepository } from "./types.ts";

export const remoteRepository: Check = shape(
  {
    kind: oneOf("remote-repository"),
    url: filledText,
    trust: (value) => {
      if (!isRecord(value) || (typeof value["publicKey"] !== "string" && !Array.isArray(value["fingerprints"])))
        throw new Fault("{ publicKey: PEM } or { fingerprints: [...] }", value);
    },
  },
  ["url", "trust"],
);

/** A directory is relative to the project file. */
export function locatedRepository(call: string, field: string, site: Site, repository: RemoteRepository): RemoteRepository {
  if (/^[a-z]+:\/\//.test(repository.url)) return repository;
  return { ...repository, url: besideCaller(call, field, site, repository.url) };
}
