/*
 * Published vectors: the check value of each CRC is that of the digits 1 to 9 (catalogue of parametrised CRC
 * algorithms: CRC-32/ISO-HDLC, CRC-32/ISCSI); the others are those of RFC 3720, section B.4.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crc.h"

static int failures;

static void expect(const char *what, uint32_t polynomial, const void *data, size_t length, uint32_t expected) {
  struct crc whole, parts;

  crc_start(&whole, polynomial);
  crc_add(&whole, data, length);
  crc_start(&parts, polynomial);
  for (size_t i = 0; i < length; i++)
    crc_add(&parts, (const char *)data + i, 1);
  if (crc_value(&whole) == expected && crc_value(&parts) == expected)
    return;
  failures++;
  printf("FAIL %s: expected %08" PRIx32 ", found %08" PRIx32 " and %08" PRIx32 "\n", what, expected, crc_value(&whole), crc_value(&parts));
}

int main(void) {
  unsigned char zeros[32], ones[32], up[32], down[32];

  memset(zeros, 0, sizeof zeros);
  memset(ones, 0xff, sizeof ones);
  for (int i = 0; i < 32; i++) {
    up[i] = (unsigned char)i;
    down[i] = (unsigned char)(31 - i);
  }
  expect("check value, ISO", CRC_ISO, "123456789", 9, 0xcbf43926);
  expect("nothing, ISO", CRC_ISO, "", 0, 0);
  expect("check value, Castagnoli", CRC_CASTAGNOLI, "123456789", 9, 0xe3069283);
  expect("32 zeros", CRC_CASTAGNOLI, zeros, sizeof zeros, 0x8a9136aa);
  expect("32 ones", CRC_CASTAGNOLI, ones, sizeof ones, 0x62a8ab43);
  expect("32 counting up", CRC_CASTAGNOLI, up, sizeof up, 0x46dd794e);
  expect("32 counting down", CRC_CASTAGNOLI, down, sizeof down, 0x113fdb5c);
  return failures == 0 ? 0 : 1;
}
