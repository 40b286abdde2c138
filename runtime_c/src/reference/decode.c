/* SPDX-License-Identifier: Apache-2.0 */
#include "coding.h"
#include "dot.h"

uint32_t lutra_dot_decoded(const lutra_coding *coding, const uint8_t *indices, uint32_t row, const int8_t *x, uint32_t step) {
  const uint32_t d = coding->subvector;
  uint32_t left = coding->channels;
  uint32_t sum = 0u;
  for (uint32_t group = 0u; group < coding->subvectors; group += 4u) {
    const uint32_t size = lutra_group_size(coding, group), row_bytes = lutra_index_bytes(coding, size);
    const uint8_t *const group_row = indices + row * row_bytes;
    for (uint32_t i = 0u; i < size; i++) {
      const int8_t *const codeword = coding->codebook + lutra_index(coding, group_row, i) * d;
      const uint32_t length = left < d ? left : d;
      sum += lutra_dot(codeword, x, length);
      x += length * step;
      left -= length;
    }
    indices += coding->rows * row_bytes;
  }
  return sum;
}
