/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V6M_BACKEND_H

#define BLOCK 16u /* codewords whose entries are on the stack */

/* From entries of pixel tables (add_pixel_lookups.c) to those of two tables. */
static void split(const uint32_t *entries, uint32_t count, int16_t *low, int16_t *high) {
  for (uint32_t k = 0u; k < count; k++) {
    const uint32_t entry = entries[k];
    low[k] = (int16_t)entry;
    high[k] = (int16_t)((entry + 0x8000u) >> 16);
  }
}

/* Two tables at a time, as if they were of two pixels; an odd one is its own partner. */
void lutra_build_tables_v6m(const int8_t *codebook, uint32_t codewords, uint32_t d, const int8_t *x, uint32_t count,
                            int16_t *tables) {
  uint32_t entries[BLOCK];
  const uint32_t block = codewords < BLOCK ? codewords : BLOCK;
  for (const int8_t *const end = codebook + codewords * d; count > 0u; count--) {
    const int8_t *second = x;
    int16_t *high = tables;
    if ((count & 1u) == 0u) {
      second += d;
      high += codewords;
      count--;
    }
    for (const int8_t *codeword = codebook; codeword < end; codeword += block * d) {
      lutra_build_pixel_tables_v6m(codeword, block, d, x, second, 1u, entries);
      split(entries, block, tables, high);
      tables += block;
      high += block;
    }
    x = second + d;
    tables = high;
  }
}

#endif
