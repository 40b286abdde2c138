/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"
#include "../dot.h"

void lutra_build_tables_reference(const int8_t *codebook, uint32_t codewords, uint32_t d, const int8_t *x, uint32_t count,
                                  int16_t *tables) {
  for (; count > 0u; count--) {
    const int8_t *codeword = codebook;
    for (uint32_t k = 0u; k < codewords; k++) {
      *tables++ = (int16_t)lutra_dot(codeword, x, d);
      codeword += d;
    }
    x += d;
  }
}

void lutra_build_pair_tables_reference(const int16_t *tables, int16_t *pairs) {
  for (uint32_t i = 0u; i < LUTRA_GROUP / 2u; i++) {
    for (uint32_t high = 0u; high < 16u; high++) {
      for (uint32_t low = 0u; low < 16u; low++) {
        *pairs++ = (int16_t)(tables[low] + tables[16u + high]);
      }
    }
    tables += 32;
  }
}
