/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "window.h"

void lutra_max_pool(const lutra_pool *layer, const int8_t *input, int8_t *output) {
  for (uint32_t i = 0u; i < layer->out_h; i++) {
    for (uint32_t j = 0u; j < layer->out_w; j++) {
      memset(output, INT8_MIN, layer->in_c);
      for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
        for (uint32_t kx = 0u; kx < layer->kernel_w; kx++) {
          const int8_t *const pixel = LUTRA_PIXEL(layer, input, i, j, ky, kx);
          for (uint32_t c = 0u; pixel != NULL && c < layer->in_c; c++) {
            output[c] = pixel[c] > output[c] ? pixel[c] : output[c];
          }
        }
      }
      output += layer->in_c;
    }
  }
}
