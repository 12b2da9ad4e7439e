#include "crc.h"

void crc_start(struct crc *crc, uint32_t polynomial) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t value = byte;

    for (int bit = 0; bit < 8; bit++)
      value = value & 1 ? value >> 1 ^ polynomial : value >> 1;
    crc->table[byte] = value;
  }
  crc->state = UINT32_C(0xffffffff);
}

void crc_add(struct crc *crc, const void *data, size_t length) {
  const unsigned char *bytes = data;

  for (size_t i = 0; i < length; i++)
    crc->state = crc->state >> 8 ^ crc->table[(crc->state ^ bytes[i]) & 0xff];
}

uint32_t crc_value(const struct crc *crc) {
  return crc->state ^ UINT32_C(0xffffffff);
}
