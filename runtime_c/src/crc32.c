/* SPDX-License-Identifier: Apache-2.0 */
#include "loops.h"

/* Bit by bit: a table would cost more flash than most models' descriptors. */
LUTRA_OUT_OF_LINE static uint32_t crc_update(uint32_t crc, uint32_t value, uint32_t bits) {
  crc ^= value;
  do {
    crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
  } while (--bits > 0u);
  return crc;
}

uint32_t lutra_crc32(const void *data, size_t halfwords, size_t bytes) {
  const uint16_t *halfword = data;
  uint32_t crc = 0xFFFFFFFFu;
  for (; halfwords > 0u; halfwords--) {
    crc = crc_update(crc, *halfword++, 16u);
  }
  const uint8_t *byte = (const uint8_t *)halfword;
  for (; bytes > 0u; bytes--) {
    crc = crc_update(crc, *byte++, 8u);
  }
  return ~crc;
}
