/* SPDX-License-Identifier: Apache-2.0 */
#include "requantization.h"

#define ROWS 8u /* whose sums are on the stack */

void lutra_linear_dense(const lutra_linear *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                        int8_t *output) {
  uint32_t sums[ROWS];
  for (uint32_t left = layer->out_c, rows; left > 0u; left -= rows) {
    rows = left < ROWS ? left : ROWS;
    lutra_dot_rows(weights, input, layer->in_c, rows, sums);
    lutra_requantize(LUTRA_REQUANTIZATION(layer), channels, sums, rows, 1u, output, 0u);
    weights += rows * layer->in_c;
    channels += rows;
    output += rows;
  }
}
