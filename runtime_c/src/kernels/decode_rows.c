/* SPDX-License-Identifier: Apache-2.0 */
#include "coding.h"

void lutra_decode_rows(const lutra_coding *coding, uint32_t taps, uint32_t first, uint32_t count, int8_t *weights) {
  lutra_codes codes = {.index_bits = coding->index_bits, .codebook = coding->codebook, .codewords = coding->codewords,
                       .d = coding->subvector, .rows = count, .weights = weights, .step = taps * coding->channels};
  const uint8_t *group = coding->indices;
  for (; taps > 0u; taps--) {
    uint32_t left = coding->channels;
    for (uint32_t m = 0u; m < coding->subvectors; m += LUTRA_GROUP) {
      codes.row_bytes = lutra_index_bytes(coding, lutra_at_most(coding->subvectors - m, LUTRA_GROUP));
      codes.indices = group + first * codes.row_bytes;
      codes.length = lutra_at_most(left, LUTRA_GROUP * codes.d);
      lutra_decode(&codes);
      group += coding->rows * codes.row_bytes;
      codes.weights += codes.length;
      left -= codes.length;
    }
  }
}

uint32_t lutra_decoded_sums(const lutra_coding *coding, uint32_t first, const int8_t *x, int8_t *weights, uint32_t *sums) {
  const uint32_t rows = lutra_at_most(coding->rows - first, LUTRA_DECODED_ROWS);
  lutra_decode_rows(coding, 1u, first, rows, weights);
  lutra_dot_rows(weights, x, coding->channels, rows, sums);
  return rows;
}
