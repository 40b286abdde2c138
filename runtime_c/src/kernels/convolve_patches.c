/* SPDX-License-Identifier: Apache-2.0 */
#include "convolve_patches.h"
#include "requantization.h"

/* Sets the inputs of a pixel whose window begins in row y and column `left` of the image; those wrap above and left of it. */
LUTRA_OUT_OF_LINE static void gather(const lutra_conv2d *layer, uint32_t channels, uint32_t length, const int8_t *input,
                                     uint32_t y, uint32_t left, void *patches, uint32_t pixel) {
  const uint32_t in_c = layer->in_c, in_w = layer->in_w, right = left + layer->kernel_w;
  /* Adjacent inputs are copied at once: those of a row of taps, or of one. */
  const uint32_t taps = channels == in_c && left < in_w && right <= in_w ? layer->kernel_w : 1u;
  const uint32_t run = taps * channels;
  uint32_t first = (y * in_w + left) * in_c;
  for (uint32_t at = 0u; at < length; y++) {
    uint32_t from = first;
    for (uint32_t x = left; x != right; x += taps) {
      if (y < layer->in_h && x < in_w) {
        lutra_patch_copy(patches, length, pixel, at, input + from, run);
      } else {
        lutra_patch_fill(patches, length, pixel, at, layer->input_zero_point, run);
      }
      at += run;
      from += in_c;
    }
    first += in_w * in_c;
  }
}

void lutra_convolve_patches(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *records, uint32_t rows,
                            uint32_t channels, const int8_t *input, int8_t *output, void *scratch) {
  const lutra_requantization how = LUTRA_REQUANTIZATION(layer);
  const uint32_t length = (uint32_t)layer->kernel_h * layer->kernel_w * channels;
  uint32_t *const sums = scratch;
  void *const patches = sums + LUTRA_PATCH_PIXELS * rows;
  uint32_t width = 0u; /* columns in whole pooling windows */
  while (width + layer->pool_w <= layer->out_w) {
    width += layer->pool_w;
  }
  for (uint32_t i = 0u; i + layer->pool_h <= layer->out_h; i += layer->pool_h) {
    int8_t *pixel = output;
    for (uint32_t pool_y = 0u; pool_y < layer->pool_h; pool_y++) {
      uint32_t pool_x = 0u;
      pixel = output;
      for (uint32_t j = 0u, count; j < width; j += count) {
        count = width - j < LUTRA_PATCH_PIXELS ? width - j : LUTRA_PATCH_PIXELS;
        for (uint32_t p = 0u; p < count; p++) {
          gather(layer, channels, length, input, (i + pool_y) * layer->stride_h - layer->pad_top,
                 (j + p) * layer->stride_w - layer->pad_left, patches, p);
        }
        lutra_patch_dot(patches, count, weights, length, rows, sums);
        for (uint32_t p = 0u; p < count; p++) {
          if ((pool_y | pool_x) == 0u) {
            lutra_requantize(&how, records, sums + p * rows, rows, pixel);
          } else {
            lutra_requantize_max(&how, records, sums + p * rows, rows, pixel);
          }
          if (++pool_x == layer->pool_w) {
            pool_x = 0u;
            pixel += layer->out_c;
          }
        }
      }
    }
    output = pixel;
  }
}
