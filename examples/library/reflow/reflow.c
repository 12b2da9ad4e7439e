/* reflow [-w COLUMNS] [-- TEXT...]: fills the text, or standard input, into lines. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wrap.h>

static int usage(void) {
  fputs("usage: reflow [-w COLUMNS] [-- TEXT...]\n", stderr);
  return 2;
}

/* Appends to a text that grows; NULL without memory. */
static char *append(char *text, size_t *length, const char *more, size_t count) {
  char *grown = realloc(text, *length + count + 1);

  if (grown == NULL) {
    free(text);
    return NULL;
  }
  memcpy(grown + *length, more, count);
  *length += count;
  grown[*length] = '\0';
  return grown;
}

static char *read_all(FILE *from) {
  char buffer[4096], *text = NULL;
  size_t length = 0, count;

  text = append(NULL, &length, "", 0);
  while (text != NULL && (count = fread(buffer, 1, sizeof buffer, from)) > 0)
    text = append(text, &length, buffer, count);
  return text;
}

static char *join(char **words) {
  size_t length = 0;
  char *text = append(NULL, &length, "", 0);

  for (; text != NULL && *words != NULL; words++) {
    text = append(text, &length, *words, strlen(*words));
    if (text != NULL)
      text = append(text, &length, " ", 1);
  }
  return text;
}

int main(int argc, char **argv) {
  unsigned long columns = 72;
  char *text = NULL, *filled;
  int at = 1;

  if (at + 1 < argc && strcmp(argv[at], "-w") == 0) {
    char *end;

    errno = 0;
    columns = strtoul(argv[at + 1], &end, 10);
    if (errno != 0 || *end != '\0' || columns == 0 || columns > 10000)
      return usage();
    at += 2;
  }
  if (at < argc && strcmp(argv[at], "--") == 0)
    text = join(argv + at + 1);
  else if (at == argc)
    text = read_all(stdin);
  else
    return usage();
  filled = text == NULL ? NULL : wrap_fill(text, columns);
  free(text);
  if (filled == NULL) {
    fputs("reflow: no memory\n", stderr);
    return 1;
  }
  if (fputs(filled, stdout) == EOF || fflush(stdout) == EOF) {
    perror("reflow");
    free(filled);
    return 1;
  }
  free(filled);
  return 0;
}
