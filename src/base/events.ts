/**
 * Work emits typed events; the terminal, the web page and the log listen.
 *
 * A room declares its own closed union of events with a `kind`; the envelope adds order and time. Rooms are handed an `Emit`
 * and never print.
 */
export interface Envelope<E extends { readonly kind: string }> {
  /** Counts from 1 within one run. */
  readonly seq: number;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly at: number;
  readonly event: E;
}

export type Emit<E extends { readonly kind: string }> = (event: E) => void;
