/* SPDX-License-Identifier: Apache-2.0 */
#include "requantize.h"
#include "window.h"

/* Sum of channel n of output (i, j). `weights`: [tap][channel]. */
static uint32_t convolve(const lutra_conv2d *layer, const int8_t *weights, const int8_t *input, uint32_t i, uint32_t j,
                         uint32_t n) {
  uint32_t sum = 0u;
  for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
    for (uint32_t kx = 0u; kx < layer->kernel_w; kx++) {
      const int8_t *const pixel = LUTRA_PIXEL(layer, input, i, j, ky, kx);
      sum += (uint32_t)((pixel != NULL ? pixel[n] : layer->input_zero_point) * weights[n]);
      weights += layer->out_c;
    }
  }
  return sum;
}

void lutra_conv2d_depthwise(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels,
                            const int8_t *input, int8_t *output) {
  for (uint32_t i = 0u; i + layer->pool_h <= layer->out_h; i += layer->pool_h) {
    for (uint32_t j = 0u; j + layer->pool_w <= layer->out_w; j += layer->pool_w) {
      for (uint32_t n = 0u; n < layer->out_c; n++) {
        *output = INT8_MIN;
        for (uint32_t y = 0u; y < layer->pool_h; y++) {
          for (uint32_t x = 0u; x < layer->pool_w; x++) {
            const uint32_t sum = convolve(layer, weights, input, i + y, j + x, n);
            lutra_conv2d_store(layer, channels[n], sum, output);
          }
        }
        output++;
      }
    }
  }
}
