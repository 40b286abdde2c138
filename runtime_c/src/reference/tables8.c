/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops8.h"

void lutra_build_tables8_reference(const int8_t *codebook, uint32_t codewords, uint32_t d, const lutra_pixels8 *pixels,
                                   uint32_t channels, int16_t *tables, uint32_t lanes, void *scratch) {
  (void)scratch;
  for (; codewords > 0u; codewords--) {
    for (uint32_t i = 0u; i < LUTRA_SUBVECTORS8; i++) {
      for (uint32_t p = 0u; p < LUTRA_PIXELS8; p++) {
        uint32_t sum = 0u;
        for (uint32_t j = 0u; j < d && i * d + j < channels; j++) {
          const int8_t x = p < pixels->count ? pixels->x[p * pixels->step + i * d + j] : pixels->zero_point;
          sum += (uint32_t)(codebook[j] * x);
        }
        tables[p] = (int16_t)sum;
      }
      tables += lanes;
    }
    codebook += d;
  }
}
