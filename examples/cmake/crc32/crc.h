/* Two cyclic redundancy checks of 32 bits, both reflected, started with and finished by all ones. */
#ifndef CRC_H
#define CRC_H

#include <stddef.h>
#include <stdint.h>

/* ISO 3309, as in zip, gzip and Ethernet; and Castagnoli's, as in iSCSI and ext4. Polynomials in reversed order. */
#define CRC_ISO UINT32_C(0xedb88320)
#define CRC_CASTAGNOLI UINT32_C(0x82f63b78)

struct crc {
  uint32_t table[256];
  uint32_t state;
};

void crc_start(struct crc *crc, uint32_t polynomial);
void crc_add(struct crc *crc, const void *data, size_t length);
uint32_t crc_value(const struct crc *crc);

#endif
