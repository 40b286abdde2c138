/* SPDX-License-Identifier: Apache-2.0 */
#include "coding.h"
#include "requantization.h"

void lutra_linear_decode(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices,
                         const lutra_channel *channels, const int8_t *input, int8_t *output, void *scratch) {
  lutra_coding coding;
  uint32_t sums[LUTRA_DECODED_ROWS];
  lutra_begin_coding(&coding, &layer->log2_codewords, codebook, indices, layer->in_c, layer->out_c);
  for (uint32_t n = 0u, rows; n < coding.rows; n += rows) {
    rows = lutra_decoded_sums(&coding, n, input, scratch, sums);
    lutra_requantize(LUTRA_REQUANTIZATION(layer), channels + n, sums, rows, 1u, output + n, 0u);
  }
}
