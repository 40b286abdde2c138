/* SPDX-License-Identifier: Apache-2.0 */
#include "coding.h"

void lutra_begin_coding(lutra_coding *coding, const uint8_t *form, const int8_t *codebook, const uint8_t *indices, uint32_t channels,
                        uint32_t rows) {
  const uint32_t d = form[1];
  coding->codebook = codebook;
  coding->indices = indices;
  coding->codewords = 1u << form[0];
  coding->subvector = d;
  coding->index_bits = form[2];
  coding->channels = channels;
  coding->rows = rows;
  coding->subvectors = 0u;
  for (uint32_t c = 0u; c < channels; c += d) { /* '/' would link a routine on CPUs without the instruction */
    coding->subvectors++;
  }
}

const int8_t *lutra_codeword(const lutra_coding *coding, uint32_t tap, uint32_t n, uint32_t m) {
  const uint32_t i = m % LUTRA_GROUP, group = m - i, bits = coding->index_bits;
  const uint32_t size = lutra_at_most(coding->subvectors - group, LUTRA_GROUP);
  const uint8_t *const row = lutra_group_indices(coding, tap, group) + n * lutra_index_bytes(coding, size);
  const uint32_t index = bits == 4u ? (uint32_t)row[i >> 1] >> ((i & 1u) << 2) : row[i];
  return coding->codebook + (index & (coding->codewords - 1u)) * coding->subvector;
}
