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
