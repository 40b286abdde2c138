/* SPDX-License-Identifier: Apache-2.0 */
#include "coding.h"

void lutra_coding_init(lutra_coding *coding, const int8_t *codebook, uint32_t log2_codewords, uint32_t subvector,
                       uint32_t index_bits, uint32_t channels, uint32_t rows) {
  coding->codebook = codebook;
  coding->codewords = 1u << log2_codewords;
  coding->subvector = subvector;
  coding->packed = index_bits == 4u;
  coding->channels = channels;
  coding->rows = rows;
  coding->subvectors = 0u;
  for (uint32_t c = 0u; c < channels; c += subvector) {
    coding->subvectors++;
  }
}
