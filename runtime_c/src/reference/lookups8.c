/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops8.h"

void lutra_expand8_reference(const uint8_t *indices, uint32_t index_bits, uint32_t codewords, uint32_t count, uint32_t rows,
                             uint16_t *offsets) {
  for (; rows > 0u; rows--) {
    uint32_t table = 0u;
    for (uint32_t i = 0u; i < LUTRA_LOOKUPS8(count); i++) {
      uint32_t index = 0u;
      if (i < count) {
        index = index_bits == 4u ? (uint32_t)indices[i >> 1] >> ((i & 1u) << 2) : indices[i];
      }
      *offsets++ = (uint16_t)((table + (index & (codewords - 1u))) * LUTRA_PIXELS8 * sizeof(int16_t));
      table += i < count ? codewords : 0u;
    }
    indices += index_bits == 4u ? (count + 1u) >> 1 : count;
  }
}

void lutra_add_lookups8_reference(const uint16_t *offsets, uint32_t count, const int16_t *tables, uint32_t packed, uint32_t *sums,
                                  uint32_t pitch, uint32_t rows) {
  (void)packed;
  for (; rows > 0u; rows--) {
    for (uint32_t i = 0u; i < count; i++) {
      const int16_t *const entry = tables + *offsets++ / sizeof *tables;
      for (uint32_t x = 0u; x < LUTRA_PIXELS8; x++) {
        const int32_t value = entry[x];
        sums[x] += (uint32_t)value;
      }
    }
    sums += pitch;
  }
}
