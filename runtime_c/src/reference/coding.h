/* SPDX-License-Identifier: Apache-2.0 */
/* Product-quantized weights: SPEC.md, section 3. Sums wrap, so that any content of the tables is safe. */
#ifndef LUTRA_CODING_H
#define LUTRA_CODING_H

#include "lutra/lutra_kernels.h"

#define LUTRA_MAX_SUBVECTOR 16

typedef struct {
  const int8_t *codebook;
  uint32_t codewords, subvector;
  uint32_t packed;               /* 1: two indices a byte, 0: one */
  uint32_t channels, subvectors; /* of the input at one tap */
  uint32_t rows;                 /* output channels */
} lutra_coding;

/* The input at one tap: `x` and `step` 1, or LUTRA_MAX_SUBVECTOR zero points that stand for every subvector and `step` 0. */

void lutra_coding_init(lutra_coding *coding, const int8_t *codebook, uint32_t log2_codewords, uint32_t subvector,
                       uint32_t index_bits, uint32_t channels, uint32_t rows);

/* Dot products of each codeword with the subvectors group .. group + 3, those that exist: int16 [..4][codewords]. */
void lutra_build_tables(const lutra_coding *coding, uint32_t group, const int8_t *x, uint32_t step, int16_t *tables);

/* Adds the group's lookups to the sum of each row. `indices`: of the tap. */
void lutra_accumulate(const lutra_coding *coding, uint32_t group, const uint8_t *indices, const int16_t *tables,
                      uint32_t *sums);

/* Dot product with the weights of one row. `indices`: of the tap. */
uint32_t lutra_dot_decoded(const lutra_coding *coding, const uint8_t *indices, uint32_t row, const int8_t *x, uint32_t step);

/* Subvectors of the group that starts at subvector `group`. */
static inline uint32_t lutra_group_size(const lutra_coding *coding, uint32_t group) {
  const uint32_t left = coding->subvectors - group;
  return left < 4u ? left : 4u;
}

/* Bytes of the indices of `subvectors` subvectors of a row. */
static inline uint32_t lutra_index_bytes(const lutra_coding *coding, uint32_t subvectors) {
  return (subvectors + coding->packed) >> coding->packed;
}

/* Index i of a row of a group; legal whatever the bytes are. */
static inline uint32_t lutra_index(const lutra_coding *coding, const uint8_t *row, uint32_t i) {
  return ((uint32_t)row[i >> coding->packed] >> ((i & coding->packed) << 2)) & (coding->codewords - 1u);
}

#endif
