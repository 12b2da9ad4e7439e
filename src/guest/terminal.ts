/**
 * Modes of a new pseudo terminal (RFC 4254, 8; IUTF8 of RFC 8160): what the guest's kernel gives by itself, and that its text is UTF-8, so
 * that a backspace takes a whole character. Speeds are asked for because programs print them.
 */
import { frame, u32, u8 } from "./wire.ts";

const IUTF8 = 42;
const INPUT_SPEED = 128;
const OUTPUT_SPEED = 129;
const BAUD = 38_400;
const END = 0;

export const terminalModes: Uint8Array = frame(
  u8(IUTF8),
  u32(1),
  u8(INPUT_SPEED),
  u32(BAUD),
  u8(OUTPUT_SPEED),
  u32(BAUD),
  u8(END),
).subarray(4);
