/* crc32 [-c] FILE...: prints the CRC-32 of each file, or with -c its CRC-32C. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crc.h"

static int print(const char *name, uint32_t polynomial) {
  static struct crc crc;
  char buffer[65536];
  size_t count;
  FILE *file = fopen(name, "rb");

  if (file == NULL) {
    perror(name);
    return 1;
  }
  crc_start(&crc, polynomial);
  while ((count = fread(buffer, 1, sizeof buffer, file)) > 0)
    crc_add(&crc, buffer, count);
  if (ferror(file)) {
    perror(name);
    fclose(file);
    return 1;
  }
  fclose(file);
  printf("%08" PRIx32 "  %s\n", crc_value(&crc), name);
  return 0;
}

int main(int argc, char **argv) {
  uint32_t polynomial = CRC_ISO;
  int at = 1, failed = 0;

  if (at < argc && strcmp(argv[at], "-c") == 0) {
    polynomial = CRC_CASTAGNOLI;
    at++;
  }
  if (at == argc) {
    fputs("usage: crc32 [-c] FILE...\n", stderr);
    return 2;
  }
  for (; at < argc; at++)
    failed |= print(argv[at], polynomial);
  return failed;
}
