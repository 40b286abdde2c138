/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_kernels.h"

/* Bit by bit: a table would cost more flash than most models' descriptors. */
uint32_t lutra_crc32(const void *data, size_t bytes) {
  const uint8_t *next = data;
  uint32_t crc = 0xFFFFFFFFu;
  for (; bytes > 0u; bytes--) {
    crc ^= *next++;
    for (uint32_t bit = 0; bit < 8u; bit++) {
      crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
    }
  }
  return ~crc;
}
