/* Filling UTF-8 text into lines. */
#ifndef WRAP_H
#define WRAP_H

#include <stddef.h>
#include <stdint.h>

/*
 * Decodes one code point of at most `length` bytes. Returns how many bytes it takes, or 0 when they are no
 * valid UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF).
 */
size_t wrap_decode(const char *text, size_t length, uint32_t *code_point);

/*
 * Columns a terminal uses for the text: none for combining marks, two for the wide scripts of East Asia, one
 * for everything else. A byte that is not UTF-8 counts as one column.
 */
size_t wrap_width(const char *text, size_t length);

/*
 * The words of the text in lines of at most `columns` columns, each line with a newline. A word that is longer
 * has a line of its own. An empty line starts a new paragraph. The result is to be freed; NULL without memory.
 */
char *wrap_fill(const char *text, size_t columns);

#endif
