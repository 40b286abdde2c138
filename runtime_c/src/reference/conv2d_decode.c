/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "coding.h"
#include "requantize.h"
#include "window.h"

/* Sum of channel n of output (i, j). */
static uint32_t convolve(const lutra_conv2d *layer, const lutra_coding *coding, const uint8_t *indices, const int8_t *input,
                         const int8_t *padding, uint32_t i, uint32_t j, uint32_t n) {
  const uint32_t tap_bytes = coding->rows * lutra_index_bytes(coding, coding->subvectors);
  uint32_t sum = 0u;
  for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
    for (uint32_t kx = 0u; kx < layer->kernel_w; kx++) {
      const int8_t *const pixel = LUTRA_PIXEL(layer, input, i, j, ky, kx);
      sum += lutra_dot_decoded(coding, indices, n, pixel != NULL ? pixel : padding, pixel != NULL);
      indices += tap_bytes;
    }
  }
  return sum;
}

void lutra_conv2d_decode(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices,
                         const lutra_channel *channels, const int8_t *input, int8_t *output) {
  lutra_coding coding;
  lutra_coding_init(&coding, codebook, layer->log2_codewords, layer->subvector, layer->index_bits, layer->in_c,
                    layer->out_c);
  int8_t padding[LUTRA_MAX_SUBVECTOR];
  memset(padding, layer->input_zero_point, sizeof padding);
  for (uint32_t i = 0u; i + layer->pool_h <= layer->out_h; i += layer->pool_h) {
    for (uint32_t j = 0u; j + layer->pool_w <= layer->out_w; j += layer->pool_w) {
      for (uint32_t n = 0u; n < layer->out_c; n++) {
        *output = INT8_MIN;
        for (uint32_t y = 0u; y < layer->pool_h; y++) {
          for (uint32_t x = 0u; x < layer->pool_w; x++) {
            const uint32_t sum = convolve(layer, &coding, indices, input, padding, i + y, j + x, n);
            lutra_conv2d_store(layer, channels[n], sum, output);
          }
        }
        output++;
      }
    }
  }
}
