/* SPDX-License-Identifier: Apache-2.0 */
#include "linear.h"
#include "requantization.h"

void lutra_linear_decode(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices,
                         const lutra_channel *channels, const int8_t *input, int8_t *output) {
  lutra_coding coding;
  lutra_begin_coding(&coding, &layer->log2_codewords, codebook, indices, layer->in_c, layer->out_c);
  for (uint32_t n = 0u; n < coding.rows; n++) {
    const uint32_t sum = lutra_row_sum(&coding, n, input);
    lutra_requantize(LUTRA_REQUANTIZATION(layer), channels + n, &sum, 1u, 1u, output + n, 0u);
  }
}
