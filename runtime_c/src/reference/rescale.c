/* SPDX-License-Identifier: Apache-2.0 */
#include "requantize.h"

void lutra_rescale_int8(const lutra_rescale *layer, const int8_t *input, int8_t *output) {
  const uint32_t pixels = layer->pixels_low + ((uint32_t)layer->pixels_high << 16);
  output += layer->output_offset;
  for (uint32_t i = 0u; i < pixels; i++) {
    for (uint32_t c = 0u; c < layer->channels; c++) {
      const int32_t value = *input++ - layer->input_zero_point;
      output[c] = lutra_clamp(lutra_scale(value, layer->multiplier, layer->shift, layer->output_zero_point), layer->output_min,
                              layer->output_max);
    }
    output += layer->output_stride;
  }
}
