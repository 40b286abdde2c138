/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

void lutra_decode_reference(const lutra_codes *codes) {
  const uint8_t *row = codes->indices;
  int8_t *weights = codes->weights;
  for (uint32_t n = codes->rows; n > 0u; n--) {
    uint32_t at = 0u, left = 0u;
    const int8_t *from = codes->codebook;
    for (uint32_t i = 0u; i < codes->length; i++) {
      if (left == 0u) {
        left = codes->d;
        from = codes->codebook + ((uint32_t)row[at >> 3] >> (at & 7u) & (codes->codewords - 1u)) * left;
        at += codes->index_bits;
      }
      weights[i] = *from++;
      left--;
    }
    row += codes->row_bytes;
    weights += codes->step;
  }
}
