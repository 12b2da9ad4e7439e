/**
 * doctor: what this machine must have before Garth can work, and how to get it.
 *
 * examine -> report (pure judgement in plan.ts) -> install, in that order; nothing is installed that was not printed first.
 * Limits: it knows Debian's and FreeBSD's package names. On another Linux it says what is missing and leaves the rest to you.
 */
export { type Check, type DoctorReport, type Install, renderReport } from "./plan.ts";
export { type Examination, examine, install } from "./run.ts";
