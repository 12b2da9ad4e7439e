/* Exits with 1 when anything is not as it should be, and says what. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wrap.h"

static int failures, checks;

static void same(const char *what, const char *expected, const char *found) {
  checks++;
  if (strcmp(expected, found) == 0)
    return;
  failures++;
  printf("FAIL %s\n  expected: %s\n  found:    %s\n", what, expected, found);
}

static void equal(const char *what, size_t expected, size_t found) {
  checks++;
  if (expected == found)
    return;
  failures++;
  printf("FAIL %s: expected %zu, found %zu\n", what, expected, found);
}

static void fills(const char *text, size_t columns, const char *expected) {
  char *filled = wrap_fill(text, columns);

  same(text, expected, filled == NULL ? "(no memory)" : filled);
  free(filled);
}

static size_t decoded(const char *text, uint32_t *value) {
  return wrap_decode(text, strlen(text), value);
}

int main(void) {
  uint32_t value = 0;

  /* RFC 3629, section 7, and the borders of each length. */
  equal("A", 1, decoded("A", &value));
  equal("U+0041", 0x41, value);
  equal("not identical to", 3, decoded("\xe2\x89\xa2", &value));
  equal("U+2262", 0x2262, value);
  equal("stump of tree", 4, decoded("\xf0\xa3\x8e\xb4", &value));
  equal("U+233B4", 0x233b4, value);
  equal("highest", 4, decoded("\xf4\x8f\xbf\xbf", &value));
  equal("above the highest", 0, decoded("\xf4\x90\x80\x80", &value));
  equal("overlong slash", 0, decoded("\xc0\xaf", &value));
  equal("overlong in three", 0, decoded("\xe0\x80\xaf", &value));
  equal("surrogate", 0, decoded("\xed\xa0\x80", &value));
  equal("cut short", 0, decoded("\xe2\x89", &value));
  equal("lone continuation", 0, decoded("\x80", &value));
  equal("nothing", 0, wrap_decode("", 0, &value));

  equal("letters", 5, wrap_width("hello", 5));
  equal("e with a combining accent", 1, wrap_width("e\xcc\x81", 3));
  equal("two ideographs", 4, wrap_width("\xe6\xbc\xa2\xe5\xad\x97", 6));
  equal("not UTF-8", 2, wrap_width("\xff\xfe", 2));

  fills("", 10, "");
  fills(" \n\t ", 10, "");
  fills("one", 10, "one\n");
  fills("one two three", 7, "one two\nthree\n");
  fills("one two three", 6, "one\ntwo\nthree\n");
  fills("a  b\n c", 80, "a b c\n");
  fills("incomprehensibilities a b", 4, "incomprehensibilities\na b\n");
  fills("first\n\n\nsecond", 80, "first\n\nsecond\n");
  fills("\xc3\xa4\xc3\xb6 \xc3\xbc\xc3\x9f x", 5, "\xc3\xa4\xc3\xb6 \xc3\xbc\xc3\x9f\nx\n");
  fills("\xe6\xbc\xa2 \xe5\xad\x97", 4, "\xe6\xbc\xa2\n\xe5\xad\x97\n");
  fills("a\n\nb\n\nc", 1, "a\n\nb\n\nc\n");

  printf("%d checks, %d failures\n", checks, failures);
  return failures == 0 ? 0 : 1;
}
