/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops8.h"

void lutra_columns8_reference(const int8_t *x, uint32_t step, uint32_t pixels, uint32_t channels, int16_t *columns) {
  for (; channels > 0u; channels--) {
    for (uint32_t p = 0u; p < LUTRA_PIXELS8; p++) {
      *columns++ = p < pixels ? x[p * step] : 0;
    }
    x++;
  }
}

void lutra_build_tables8_reference(const int8_t *codebook, uint32_t codewords, uint32_t d, const int16_t *columns, uint32_t count,
                                   int16_t *tables) {
  for (; count > 0u; count--) {
    const int8_t *codeword = codebook;
    for (uint32_t k = 0u; k < codewords; k++) {
      for (uint32_t p = 0u; p < LUTRA_PIXELS8; p++) {
        uint32_t sum = 0u;
        for (uint32_t j = 0u; j < d; j++) {
          sum += (uint32_t)(codeword[j] * columns[j * LUTRA_PIXELS8 + p]);
        }
        *tables++ = (int16_t)sum;
      }
      codeword += d;
    }
    columns += d * LUTRA_PIXELS8;
  }
}
