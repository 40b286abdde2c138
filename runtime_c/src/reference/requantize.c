/* SPDX-License-Identifier: Apache-2.0 */
#include "requantize.h"

static int8_t requantize(uint32_t sum, lutra_channel channel, uint32_t bias_shift, uint32_t acc_shift, uint32_t output_shift,
                         int8_t zero_point, int8_t minimum, int8_t maximum) {
  const int32_t accumulator = (int32_t)(sum + ((uint32_t)channel.bias << bias_shift));
  const uint32_t multiplier = channel.multiplier & 0x0FFFu, shift = output_shift + ((uint32_t)channel.multiplier >> 12);
  return lutra_clamp(lutra_scale(accumulator >> acc_shift, multiplier, shift, zero_point), minimum, maximum);
}

int8_t lutra_linear_requantize(const lutra_linear *layer, lutra_channel channel, uint32_t sum) {
  return requantize(sum, channel, layer->bias_shift, layer->acc_shift, layer->output_shift, layer->output_zero_point,
                    layer->output_min, layer->output_max);
}

void lutra_conv2d_store(const lutra_conv2d *layer, lutra_channel channel, uint32_t sum, int8_t *output) {
  const int8_t value = requantize(sum, channel, layer->bias_shift, layer->acc_shift, layer->output_shift,
                                  layer->output_zero_point, layer->output_min, layer->output_max);
  *output = value > *output ? value : *output;
}
