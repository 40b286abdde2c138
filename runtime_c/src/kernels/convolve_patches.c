/* SPDX-License-Identifier: Apache-2.0 */
#include "convolve_patches.h"
#include "requantization.h"

/* The inputs of output (i, j). */
static void gather(const lutra_conv2d *layer, uint32_t channels, uint32_t length, const int8_t *input, uint32_t i, uint32_t j,
                   void *patches, uint32_t pixel) {
  uint32_t at = 0u;
  for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
    const uint32_t y = i * layer->stride_h + ky - layer->pad_top; /* wraps above the image */
    for (uint32_t kx = 0u, taps; kx < layer->kernel_w; kx += taps) {
      const uint32_t x = j * layer->stride_w + kx - layer->pad_left;
      taps = 1u;
      if (y < layer->in_h && x < layer->in_w) {
        if (channels == layer->in_c) { /* the taps' inputs are adjacent */
          const uint32_t in_kernel = layer->kernel_w - kx, in_image = layer->in_w - x;
          taps = in_kernel < in_image ? in_kernel : in_image;
        }
        lutra_patch_copy(patches, length, pixel, at, input + (y * layer->in_w + x) * layer->in_c, taps * channels);
      } else {
        lutra_patch_fill(patches, length, pixel, at, layer->input_zero_point, channels);
      }
      at += taps * channels;
    }
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
          gather(layer, channels, length, input, i + pool_y, j + p, patches, p);
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
