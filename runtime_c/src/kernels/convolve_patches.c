/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "convolve_patches.h"
#include "requantization.h"
#include "window.h"

/* What a window meets, the zero point outside the image: int8 [kernel_h][kernel_w][channels]. */
static void copy_window(const lutra_conv2d *layer, uint32_t channels, const int8_t *input, uint32_t top, uint32_t left,
                        int8_t *window) {
  const lutra_range y = lutra_inside(top, layer->kernel_h, layer->pad_top, layer->in_h);
  const lutra_range x = lutra_inside(left, layer->kernel_w, layer->pad_left, layer->in_w);
  const uint32_t taps = x.end - x.begin, in_c = layer->in_c, window_row = layer->kernel_w * channels;
  /* Adjacent inputs are copied at once: those of a row of taps, or of one. */
  const uint32_t runs = channels == in_c ? 1u : taps, run = channels == in_c ? taps * channels : channels;
  memset(window, layer->input_zero_point, layer->kernel_h * window_row);
  for (uint32_t ky = y.begin; ky < y.end && taps > 0u; ky++) {
    const int8_t *from = input + ((top + ky - layer->pad_top) * layer->in_w + left + x.begin - layer->pad_left) * in_c;
    int8_t *to = window + ky * window_row + x.begin * channels;
    for (uint32_t i = 0u; i < runs; i++) {
      memcpy(to, from, run);
      to += run;
      from += in_c;
    }
  }
}

/* Sets the inputs of two pixels whose windows begin in row `top` and columns `left` and `next`, which count from the first padded
 * ones. `windows`: memory for what both meet. */
static void set_pair(const lutra_conv2d *layer, uint32_t channels, const int8_t *input, uint32_t top, uint32_t left, uint32_t next,
                     int8_t *windows, void *patches, uint32_t pair) {
  const int32_t y = (int32_t)top - layer->pad_top, x = (int32_t)left - layer->pad_left;
  const uint32_t in_c = layer->in_c;
  uint32_t run = layer->kernel_w * channels, rows = layer->kernel_h, row = layer->in_w * in_c;
  const int8_t *a = input + (uint32_t)y * row + (uint32_t)x * in_c, *b = a + (next - left) * in_c;
  if (channels != in_c || y < 0 || x < 0 || y + layer->kernel_h > layer->in_h ||
      (int32_t)next - layer->pad_left + layer->kernel_w > layer->in_w) {
    run *= rows;
    rows = 1u;
    copy_window(layer, channels, input, top, left, windows);
    copy_window(layer, channels, input, top, next, windows + run);
    a = windows;
    b = windows + run;
  }
  lutra_patch_set(patches, pair, a, b, row, run, rows);
}

void lutra_convolve_patches(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *records, uint32_t rows,
                            uint32_t channels, const int8_t *input, int8_t *output, void *scratch) {
  const lutra_requantization how = LUTRA_REQUANTIZATION(layer);
  const uint32_t length = (uint32_t)layer->kernel_h * layer->kernel_w * channels;
  uint32_t *const sums = scratch; /* and, before there are any, windows */
  void *const patches = (int8_t *)scratch + LUTRA_PATCH_SUMS_BYTES(length, rows);
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
        for (uint32_t p = 0u; p < count; p += 2u) {
          const uint32_t left = (j + p) * layer->stride_w;
          set_pair(layer, channels, input, (i + pool_y) * layer->stride_h, left, p + 1u < count ? left + layer->stride_w : left,
                   scratch, patches, p / 2u);
        }
        lutra_patch_dot(patches, count, weights, length, rows, sums);
        if (layer->pool_h * layer->pool_w == 1u) {
          lutra_requantize(&how, records, sums, rows, count, pixel, layer->out_c);
          pixel += count * layer->out_c;
          continue;
        }
        for (uint32_t p = 0u; p < count; p++) {
          if ((pool_y | pool_x) == 0u) {
            lutra_requantize(&how, records, sums + p * rows, rows, 1u, pixel, 0u);
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
