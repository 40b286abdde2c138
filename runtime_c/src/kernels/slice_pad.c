/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_kernels.h"

void lutra_slice_pad_int8(const lutra_slice_pad *layer, const int8_t *input, int8_t *output) {
  for (uint32_t i = 0u; i < layer->out_h; i++) {
    for (uint32_t j = 0u; j < layer->out_w; j++) {
      for (uint32_t c = 0u; c < layer->out_c; c++) {
        /* Positions before the window wrap to large numbers. */
        const uint32_t y = i - layer->pad_h, x = j - layer->pad_w, z = c - layer->pad_c;
        int8_t value = layer->zero_point;
        if (y < layer->count_h && x < layer->count_w && z < layer->count_c) {
          const uint32_t row = layer->start_h + y * layer->step_h, column = layer->start_w + x * layer->step_w;
          value = input[(row * layer->in_w + column) * layer->in_c + layer->start_c + z * layer->step_c];
        }
        *output++ = value;
      }
    }
  }
}
