/* SPDX-License-Identifier: Apache-2.0 */
#include "requantize.h"

void lutra_add_int8(const lutra_add *layer, const int8_t *a, const int8_t *b, int8_t *output) {
  const uint32_t size = layer->size_low + ((uint32_t)layer->size_high << 16);
  for (uint32_t i = 0u; i < size; i++) {
    const int32_t sum = (a[i] - layer->zero_point_a) * layer->multiplier_a + (b[i] - layer->zero_point_b) * layer->multiplier_b;
    output[i] = lutra_clamp(lutra_scale(sum, 1u, layer->shift, layer->output_zero_point), layer->output_min, layer->output_max);
  }
}
