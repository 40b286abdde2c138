/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_kernels.h"

/* Bit by bit: a table would cost more flash than most models' descriptors. */
uint32_t lutra_crc32(const void *data, size_t halfwords, size_t bytes) {
  const uint8_t *next = data;
  uint32_t crc = 0xFFFFFFFFu;
  while (halfwords + bytes > 0u) {
    uint32_t bits = 8u;
    if (halfwords > 0u) {
      crc ^= *(const uint16_t *)(const void *)next;
      bits = 16u;
      next += 2;
      halfwords--;
    } else {
      crc ^= *next++;
      bytes--;
    }
    for (; bits > 0u; bits--) {
      crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
    }
  }
  return ~crc;
}
