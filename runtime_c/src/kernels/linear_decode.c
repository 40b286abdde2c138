/* SPDX-License-Identifier: Apache-2.0 */
#include "../dot.h"
#include "coding.h"
#include "requantization.h"

/* Dot product of x with the weights of row n. */
static uint32_t dot_decoded(const lutra_coding *coding, uint32_t n, const int8_t *x) {
  uint32_t sum = 0u;
  for (uint32_t group = 0u; group < coding->subvectors; group += LUTRA_GROUP) {
    const uint32_t size = lutra_at_most(coding->subvectors - group, LUTRA_GROUP);
    const uint8_t *const row = lutra_group_indices(coding, 0u, group) + n * lutra_index_bytes(coding, size);
    for (uint32_t i = 0u; i < size; i++) {
      const uint32_t length = lutra_subvector_length(coding, group + i);
      sum += lutra_dot(coding->codebook + lutra_index(coding, row, i) * coding->subvector, x, length);
      x += length;
    }
  }
  return sum;
}

void lutra_linear_decode(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices,
                         const lutra_channel *channels, const int8_t *input, int8_t *output) {
  const lutra_coding coding = LUTRA_CODING(layer, codebook, indices);
  const lutra_requantization how = LUTRA_REQUANTIZATION(layer);
  for (uint32_t n = 0u; n < coding.rows; n++) {
    const uint32_t sum = dot_decoded(&coding, n, input);
    lutra_requantize(&how, channels + n, &sum, 1u, 1u, output + n, 0u);
  }
}
