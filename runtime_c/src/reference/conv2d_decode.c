/* SPDX-License-Identifier: Apache-2.0 */
#include "coding.h"
#include "requantize.h"
#include "window.h"

/* Sum of channel n of output (i, j) without its bias. */
static uint32_t convolve(const lutra_conv2d *layer, const lutra_coding *coding, const uint8_t *indices, const int8_t *input,
                         uint32_t i, uint32_t j, uint32_t n) {
  const uint32_t tap_bytes = coding->rows * lutra_index_bytes(coding, coding->subvectors);
  uint32_t sum = 0u;
  for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
    for (uint32_t kx = 0u; kx < layer->kernel_w; kx++) {
      const int8_t *const pixel = LUTRA_PIXEL(layer, input, i, j, ky, kx);
      sum += lutra_dot_decoded(coding, indices, n, pixel != NULL ? pixel : &layer->input_zero_point, pixel != NULL);
      indices += tap_bytes;
    }
  }
  return sum;
}

void lutra_conv2d_decode(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                         const int8_t *input, int8_t *output) {
  lutra_coding coding;
  lutra_coding_init(&coding, codebook, layer->log2_codewords, layer->subvector, layer->index_bits, layer->in_c, layer->out_c);
  for (uint32_t i = 0u; i + layer->pool_h <= layer->out_h; i += layer->pool_h) {
    for (uint32_t j = 0u; j + layer->pool_w <= layer->out_w; j += layer->pool_w) {
      for (uint32_t n = 0u; n < layer->out_c; n++) {
        int8_t best = INT8_MIN;
        for (uint32_t y = i; y < i + layer->pool_h; y++) {
          for (uint32_t x = j; x < j + layer->pool_w; x++) {
            const uint32_t sum =
                lutra_bias(channels[n], layer->bias_shift) + convolve(layer, &coding, indices, input, y, x, n);
            const int8_t value = LUTRA_REQUANTIZE(layer, channels[n], sum);
            best = value > best ? value : best;
          }
        }
        *output++ = best;
      }
    }
  }
}
