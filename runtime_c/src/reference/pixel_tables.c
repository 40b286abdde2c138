/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

void lutra_build_pixel_tables_reference(const int8_t *codebook, uint32_t codewords, uint32_t d, const int8_t *a, const int8_t *b,
                                        uint32_t count, uint32_t *tables) {
  for (; count > 0u; count--) {
    const int8_t *codeword = codebook;
    for (uint32_t k = 0u; k < codewords; k++) {
      uint32_t sum = 0u; /* of products of b in the upper half and of a, with borrow, in the lower */
      for (uint32_t j = 0u; j < d; j++) {
        sum += (uint32_t)codeword[j] * (((uint32_t)b[j] << 16) + (uint32_t)a[j]);
      }
      *tables++ = sum + 0x8000u; /* without borrow: a + 0x8000 below, b above */
      codeword += d;
    }
    a += d;
    b += d;
  }
}

void lutra_add_pixel_lookups_reference(const void *offsets, uint32_t count, const uint32_t *tables, uint32_t form, uint32_t *a,
                                       uint32_t *b, uint32_t rows) {
  const uint8_t *near = offsets;
  const uint16_t *far = offsets;
  for (uint32_t n = 0u; n < rows; n++) {
    uint32_t sum = 0u, high = 0u;
    for (uint32_t i = 0u; i < count; i++) {
      const uint32_t offset = (form & LUTRA_FAR) != 0u ? *far++ : *near++;
      const uint32_t both = tables[offset >> 2];
      sum += both;
      high += (uint32_t)((int32_t)both >> 16);
    }
    a[n] += sum - (high << 16) - (count << 15);
    b[n] += high;
  }
}
