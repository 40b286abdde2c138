/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of fully connected layers, without biases. */
#ifndef LUTRA_LINEAR_H
#define LUTRA_LINEAR_H

#include "../dot.h"
#include "coding.h"

/* The sums of all rows, to the beginning of what lutra_linear_lut needs as scratch memory; of lutra_linear_pairs. */
void lutra_sum_lookups(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices, const int8_t *input, uint32_t *sums);
void lutra_sum_pair_lookups(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices, const int8_t *input,
                            uint32_t *sums);

static inline uint32_t lutra_row_sum(const lutra_coding *coding, uint32_t n, const int8_t *x) {
  uint32_t sum = 0u;
  for (uint32_t m = 0u; m < coding->subvectors; m++) {
    const uint32_t length = lutra_subvector_length(coding, m);
    sum += lutra_dot(lutra_codeword(coding, 0u, n, m), x, length);
    x += length;
  }
  return sum;
}

#endif
