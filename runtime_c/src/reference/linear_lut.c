/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "coding.h"
#include "requantize.h"

void lutra_linear_lut(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                      const int8_t *input, int8_t *output, void *scratch) {
  lutra_coding coding;
  lutra_coding_init(&coding, codebook, layer->log2_codewords, layer->subvector, layer->index_bits, layer->in_c,
                    layer->out_c);
  int16_t *const tables = scratch;
  uint32_t *const sums = (uint32_t *)scratch + 2u * coding.codewords;
  memset(sums, 0, layer->out_c * sizeof *sums);
  for (uint32_t group = 0u; group < coding.subvectors; group += 4u) {
    lutra_build_tables(&coding, group, input, 1u, tables);
    lutra_accumulate(&coding, group, indices, tables, sums);
  }
  for (uint32_t n = 0u; n < layer->out_c; n++) {
    output[n] = lutra_linear_requantize(layer, channels[n], sums[n]);
  }
}
