#include "wrap.h"

#include <stdlib.h>
#include <string.h>

size_t wrap_decode(const char *text, size_t length, uint32_t *code_point) {
  static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const unsigned char *bytes = (const unsigned char *)text;
  size_t count;
  uint32_t value;

  if (length == 0)
    return 0;
  if (bytes[0] < 0x80) {
    *code_point = bytes[0];
    return 1;
  }
  if ((bytes[0] & 0xe0) == 0xc0) {
    count = 2;
    value = bytes[0] & 0x1f;
  } else if ((bytes[0] & 0xf0) == 0xe0) {
    count = 3;
    value = bytes[0] & 0x0f;
  } else if ((bytes[0] & 0xf8) == 0xf0) {
    count = 4;
    value = bytes[0] & 0x07;
  } else {
    return 0;
  }
  if (count > length)
    return 0;
  for (size_t i = 1; i < count; i++) {
    if ((bytes[i] & 0xc0) != 0x80)
      return 0;
    value = value << 6 | (bytes[i] & 0x3f);
  }
  if (value < smallest[count] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
    return 0;
  *code_point = value;
  return count;
}

struct range {
  uint32_t first, last;
};

/* Blocks of combining marks, and characters without a width. */
static const struct range zero[] = {
    {0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd}, {0x064b, 0x065f}, {0x1ab0, 0x1aff},
    {0x1dc0, 0x1dff}, {0x200b, 0x200f}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f},
};

/* Blocks of wide characters: Hangul, Kana, ideographs, full-width forms, pictographs. */
static const struct range wide[] = {
    {0x1100, 0x115f}, {0x2e80, 0x303e}, {0x3041, 0x33ff},   {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xac00, 0xd7a3},
    {0xf900, 0xfaff}, {0xff00, 0xff60}, {0x1f300, 0x1f64f}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd},
};

static int within(uint32_t value, const struct range *ranges, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (value >= ranges[i].first && value <= ranges[i].last)
      return 1;
  return 0;
}

size_t wrap_width(const char *text, size_t length) {
  size_t columns = 0;

  for (size_t at = 0; at < length;) {
    uint32_t value = 0;
    size_t count = wrap_decode(text + at, length - at, &value);

    if (count == 0) {
      at++;
      columns++;
      continue;
    }
    at += count;
    if (within(value, wide, sizeof wide / sizeof *wide))
      columns += 2;
    else if (!within(value, zero, sizeof zero / sizeof *zero))
      columns++;
  }
  return columns;
}

/* No-break spaces are not among them. */
static int is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

char *wrap_fill(const char *text, size_t columns) {
  size_t length = strlen(text), used = 0, line = 0;
  /* Every word is followed by at most one space or newline; an empty line takes the place of two newlines. */
  char *filled = malloc(length + 2);

  if (filled == NULL)
    return NULL;
  for (size_t at = 0; at < length;) {
    size_t newlines = 0, start;

    while (at < length && is_space(text[at]))
      newlines += text[at++] == '\n';
    if (at == length)
      break;
    start = at;
    while (at < length && !is_space(text[at]))
      at++;
    size_t width = wrap_width(text + start, at - start);
    if (used > 0) {
      if (newlines > 1) {
        filled[used++] = '\n';
        filled[used++] = '\n';
        line = 0;
      } else if (line + 1 + width > columns) {
        filled[used++] = '\n';
        line = 0;
      } else {
        filled[used++] = ' ';
        line++;
      }
    }
    memcpy(filled + used, text + start, at - start);
    used += at - start;
    line += width;
  }
  if (used > 0)
    filled[used++] = '\n';
  filled[used] = '\0';
  return filled;
}
