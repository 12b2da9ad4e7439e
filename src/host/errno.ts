/** Whether an error is the runtime's report of one of these errno names. */
export function isErrno(error: unknown, ...names: readonly string[]): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "string" && names.includes(error.code);
}
