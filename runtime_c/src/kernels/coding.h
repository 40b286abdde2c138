/* SPDX-License-Identifier: Apache-2.0 */
/* Product-quantized weights: SPEC.md, section 3. */
#ifndef LUTRA_CODING_H
#define LUTRA_CODING_H

#include "../loops.h"

typedef struct {
  const int8_t *codebook;
  const uint8_t *indices;
  uint32_t codewords, subvector, index_bits;
  uint32_t channels, subvectors; /* of the input at one tap */
  uint32_t rows;                 /* output channels */
} lutra_coding;

/* Of a layer whose members log2_codewords, subvector and index_bits are at `form`. */
void lutra_begin_coding(lutra_coding *coding, const uint8_t *form, const int8_t *codebook, const uint8_t *indices, uint32_t channels,
                        uint32_t rows);

static inline uint32_t lutra_at_most(uint32_t value, uint32_t limit) {
  return value < limit ? value : limit;
}

/* Bytes of the indices of `count` adjacent subvectors of a row. */
static inline uint32_t lutra_index_bytes(const lutra_coding *coding, uint32_t count) {
  return coding->index_bits == 4u ? (count + 1u) >> 1 : count;
}

/* Indices of a group at a tap, row 0; `group` is its first subvector. */
static inline const uint8_t *lutra_group_indices(const lutra_coding *coding, uint32_t tap, uint32_t group) {
  return coding->indices + coding->rows * (tap * lutra_index_bytes(coding, coding->subvectors) + lutra_index_bytes(coding, group));
}

/* Channels of subvector m: fewer than d in the last one, perhaps. */
static inline uint32_t lutra_subvector_length(const lutra_coding *coding, uint32_t m) {
  return lutra_at_most(coding->channels - m * coding->subvector, coding->subvector);
}

/* The weights of `count` rows, int8 [row][tap][channel]. */
void lutra_decode_rows(const lutra_coding *coding, uint32_t taps, uint32_t first, uint32_t count, int8_t *weights);

/* The sums, without biases, of up to LUTRA_DECODED_ROWS rows of a fully connected layer, whose weights are decoded to `weights`. Returns
 * how many rows. */
uint32_t lutra_decoded_sums(const lutra_coding *coding, uint32_t first, const int8_t *x, int8_t *weights, uint32_t *sums);

#endif
