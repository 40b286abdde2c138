/* SPDX-License-Identifier: Apache-2.0 */
#include "../bytes.h"
#include "window.h"

void lutra_max_pool(const lutra_pool *layer, const int8_t *input, int8_t *output) {
  for (uint32_t i = 0u; i < layer->out_h; i++) {
    for (uint32_t j = 0u; j < layer->out_w; j++) {
      lutra_fill(output, INT8_MIN, layer->in_c);
      for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
        for (uint32_t kx = 0u; kx < layer->kernel_w; kx++) {
          const int8_t *const pixel = LUTRA_PIXEL(layer, input, i, j, ky, kx);
          if (pixel != NULL) {
            lutra_keep_greatest(output, pixel, layer->in_c);
          }
        }
      }
      output += layer->in_c;
    }
  }
}
