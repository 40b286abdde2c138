/* SPDX-License-Identifier: Apache-2.0 */
#include "../scale.h"
#include "window.h"

void lutra_average_pool(const lutra_pool *layer, const uint16_t *multipliers, const int8_t *input, int8_t *output) {
  for (uint32_t i = 0u; i < layer->out_h; i++) {
    for (uint32_t j = 0u; j < layer->out_w; j++) {
      for (uint32_t c = 0u; c < layer->in_c; c++) {
        int32_t sum = 0;
        uint32_t count = 0u;
        for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
          for (uint32_t kx = 0u; kx < layer->kernel_w; kx++) {
            const int8_t *const pixel = LUTRA_PIXEL(layer, input, i, j, ky, kx);
            if (pixel != NULL) {
              sum += pixel[c] - layer->input_zero_point;
              count++;
            }
          }
        }
        const uint16_t multiplier = multipliers[layer->count_include_pad ? 0u : count - 1u];
        *output++ = lutra_clamp(lutra_scale(sum, multiplier, layer->shift, layer->output_zero_point), layer->output_min,
                                layer->output_max);
      }
    }
  }
}
