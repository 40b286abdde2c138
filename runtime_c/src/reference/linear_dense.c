/* SPDX-License-Identifier: Apache-2.0 */
#include "dot.h"
#include "requantize.h"

void lutra_linear_dense(const lutra_linear *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                        int8_t *output) {
  for (uint32_t n = 0u; n < layer->out_c; n++) {
    const uint32_t sum = lutra_dot(weights, input, layer->in_c);
    output[n] = lutra_linear_requantize(layer, channels[n], sum);
    weights += layer->in_c;
  }
}
