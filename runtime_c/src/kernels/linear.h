/* SPDX-License-Identifier: Apache-2.0 */
/* Of fully connected layers. */
#ifndef LUTRA_LINEAR_H
#define LUTRA_LINEAR_H

#include "../dot.h"
#include "coding.h"

/* The sum of row n, without bias. */
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
