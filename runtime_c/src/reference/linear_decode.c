/* SPDX-License-Identifier: Apache-2.0 */
#include "coding.h"
#include "requantize.h"

void lutra_linear_decode(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices,
                         const lutra_channel *channels, const int8_t *input, int8_t *output) {
  lutra_coding coding;
  lutra_coding_init(&coding, codebook, layer->log2_codewords, layer->subvector, layer->index_bits, layer->in_c,
                    layer->out_c);
  for (uint32_t n = 0u; n < layer->out_c; n++) {
    const uint32_t sum = lutra_dot_decoded(&coding, indices, n, input, 1u);
    output[n] = lutra_linear_requantize(layer, channels[n], sum);
  }
}
