/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_kernels.h"

#include "../scale.h"

void lutra_average_pool(const lutra_pool *layer, const uint16_t *multipliers, const int8_t *input, int8_t *output) {
  for (uint32_t i = 0u; i < layer->out_h; i++) {
    for (uint32_t j = 0u; j < layer->out_w; j++) {
      for (uint32_t c = 0u; c < layer->in_c; c++) {
        int32_t sum = 0;
        uint32_t count = 0u, y = i * layer->stride_h - layer->pad_top; /* wraps above the image */
        for (uint32_t ky = layer->kernel_h; ky > 0u; ky--, y++) {
          uint32_t x = j * layer->stride_w - layer->pad_left;
          for (uint32_t kx = layer->kernel_w; kx > 0u; kx--, x++) {
            if (y < layer->in_h && x < layer->in_w) {
              sum += input[(y * layer->in_w + x) * layer->in_c + c] - layer->input_zero_point;
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
