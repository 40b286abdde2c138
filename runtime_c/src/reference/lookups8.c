/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "../loops8.h"

void lutra_expand8_reference(const uint8_t *indices, uint32_t index_bits, uint32_t codewords, uint32_t count, uint32_t rows,
                             uint32_t lanes, uint32_t shift, uint16_t *offsets, uint32_t step) {
  for (; rows > 0u; rows--) {
    for (uint32_t i = 0u; i < count; i++) {
      const uint32_t index = index_bits == 4u ? (uint32_t)indices[i >> 1] >> ((i & 1u) << 2) : indices[i];
      const uint32_t codeword = (i >> 2) * codewords + (index & (codewords - 1u));
      offsets[i] = (uint16_t)(shift + (LUTRA_SUBVECTORS8 * codeword + (i & 3u)) * lanes * sizeof(int16_t));
    }
    indices += index_bits == 4u ? (count + 1u) >> 1 : count;
    offsets += step;
  }
}

void lutra_clear8_reference(uint32_t *sums, uint32_t count) {
  memset(sums, 0, count * sizeof *sums);
}

void lutra_add_lookups8_reference(const uint16_t *offsets, uint32_t fours, const int16_t *tables, uint32_t vectors,
                                  uint32_t *sums, uint32_t pitch, uint32_t rows) {
  for (; rows > 0u; rows--) {
    for (uint32_t i = 0u; i < 4u * fours; i++) {
      const int16_t *const entry = tables + *offsets++ / sizeof *tables;
      for (uint32_t x = 0u; x < LUTRA_PIXELS8 * vectors; x++) {
        const int32_t value = entry[x];
        sums[x] += (uint32_t)value;
      }
    }
    sums += pitch;
  }
}
