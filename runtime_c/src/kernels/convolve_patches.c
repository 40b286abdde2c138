/* SPDX-License-Identifier: Apache-2.0 */
#include "../bytes.h"
#include "convolve_patches.h"
#include "requantization.h"

/* What a window meets that begins at (y, x), the zero point outside the image: int8 [kernel_h][kernel_w][channels]. Returns its end.
 * Positions above or left of the image wrap to large numbers. */
LUTRA_OUT_OF_LINE static int8_t *copy_window(const lutra_conv2d *layer, uint32_t channels, const int8_t *input, uint32_t y, uint32_t x,
                                             int8_t *window) {
  for (uint32_t ky = layer->kernel_h; ky > 0u; ky--, y++) {
    const int8_t *pixel = input + (y * layer->in_w + x) * layer->in_c;
    for (uint32_t kx = 0u; kx < layer->kernel_w; kx++) {
      if (y < layer->in_h && x + kx < layer->in_w) {
        lutra_copy(window, pixel, channels);
      } else {
        lutra_fill(window, layer->input_zero_point, channels);
      }
      pixel += layer->in_c;
      window += channels;
    }
  }
  return window;
}

/* Sets the inputs of two pixels whose windows begin in row y and columns x and next, above and left of the image negative ones.
 * `windows`: memory for what both meet. */
LUTRA_OUT_OF_LINE static void set_pair(const lutra_conv2d *layer, uint32_t channels, const int8_t *input, int32_t y, int32_t x,
                                       int32_t next, int8_t *windows, void *patches, uint32_t pair) {
  const int32_t in_c = layer->in_c, row = layer->in_w * in_c;
  uint32_t run = layer->kernel_w * channels, rows = layer->kernel_h;
  const int8_t *a = input + (uint32_t)(y * row + x * in_c), *b = a + (next - x) * in_c;
  if (channels != layer->in_c || y < 0 || x < 0 || y + layer->kernel_h > layer->in_h || next + layer->kernel_w > layer->in_w) {
    run *= rows;
    rows = 1u;
    a = windows;
    b = copy_window(layer, channels, input, (uint32_t)y, (uint32_t)x, windows);
    copy_window(layer, channels, input, (uint32_t)y, (uint32_t)next, windows + run);
  }
  lutra_patch_set(patches, pair, a, b, (uint32_t)row, run, rows);
}

void lutra_convolve_patches(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *records, uint32_t rows,
                            uint32_t channels, const int8_t *input, int8_t *output, void *scratch) {
  const lutra_requantization *const how = LUTRA_REQUANTIZATION(layer);
  const uint32_t length = (uint32_t)layer->kernel_h * layer->kernel_w * channels, out_c = layer->out_c;
  uint32_t *const sums = scratch; /* and, before there are any, windows */
  void *const patches = (int8_t *)scratch + LUTRA_PATCH_SUMS_BYTES(length, rows);
  uint32_t width = 0u, pool_y = 0u; /* columns in whole pooling windows */
  while (width + layer->pool_w <= layer->out_w) {
    width += layer->pool_w;
  }
  for (uint32_t i = 0u; i - pool_y + layer->pool_h <= layer->out_h; i++) {
    uint32_t pool_x = 0u;
    int8_t *pixel = output;
    for (uint32_t j = 0u, count; j < width; j += count) {
      count = width - j < LUTRA_PATCH_PIXELS ? width - j : LUTRA_PATCH_PIXELS;
      for (uint32_t p = 0u; p < count; p += 2u) {
        const int32_t x = (int32_t)(j + p) * layer->stride_w - layer->pad_left;
        set_pair(layer, channels, input, (int32_t)i * layer->stride_h - layer->pad_top, x, p + 1u < count ? x + layer->stride_w : x,
                 scratch, patches, p / 2u);
      }
      lutra_patch_dot(patches, count, weights, length, rows, sums);
      if (layer->pool_h * layer->pool_w == 1u) {
        lutra_requantize(how, records, sums, rows, count, pixel, out_c);
        pixel += count * out_c;
        continue;
      }
      for (uint32_t p = 0u; p < count; p++) {
        lutra_store_pixel(how, records, sums + p * rows, rows, pixel, pool_y | pool_x);
        if (++pool_x == layer->pool_w) {
          pool_x = 0u;
          pixel += out_c;
        }
      }
    }
    if (++pool_y == layer->pool_h) {
      pool_y = 0u;
      output = pixel;
    }
  }
}
