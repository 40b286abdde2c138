/* SPDX-License-Identifier: Apache-2.0 */
#include "../bytes.h"
#include "convolve_patches.h"
#include "requantization.h"

/* What a window meets that begins at (y, x), the zero point outside the image: int8 [kernel_h][kernel_w][channels]. Returns its end.
 * Rows above the image wrap to large numbers. */
LUTRA_OUT_OF_LINE static int8_t *copy_window(const lutra_filters *filters, uint32_t y, int32_t x, int8_t *window) {
  const lutra_conv2d *const layer = filters->layer;
  const uint32_t in_c = layer->in_c, channels = filters->channels, kernel_w = layer->kernel_w;
  const int32_t begin = x < 0 ? -x : 0, beyond = x + (int32_t)kernel_w - layer->in_w;
  int32_t runs = (int32_t)kernel_w - begin - (beyond > 0 ? beyond : 0); /* columns inside the image */
  uint32_t run = channels;
  if (channels == in_c && runs > 0) { /* are adjacent */
    run *= (uint32_t)runs;
    runs = 1;
  }
  lutra_fill(window, layer->input_zero_point, layer->kernel_h * kernel_w * channels);
  for (uint32_t ky = layer->kernel_h; ky > 0u; ky--, y++) {
    if (y < layer->in_h) {
      const int8_t *from = filters->input + (y * layer->in_w + (uint32_t)(x + begin)) * in_c;
      int8_t *to = window + (uint32_t)begin * channels;
      for (int32_t i = runs; i > 0; i--) {
        lutra_copy_bytes(to, from, run);
        from += in_c;
        to += channels;
      }
    }
    window += kernel_w * channels;
  }
  return window;
}

/* Sets the inputs of two pixels whose windows begin in row y and columns x and next, above and left of the image negative ones. */
LUTRA_OUT_OF_LINE static void set_pair(const lutra_filters *filters, int32_t y, int32_t x, int32_t next, void *patches, uint32_t pair) {
  const lutra_conv2d *const layer = filters->layer;
  const int32_t in_c = layer->in_c, row = layer->in_w * in_c;
  uint32_t run = layer->kernel_w * filters->channels, rows = layer->kernel_h;
  const int8_t *a = filters->input + (y * row + x * in_c), *b = a + (next - x) * in_c;
  if (filters->channels != layer->in_c || y < 0 || x < 0 || y + layer->kernel_h > layer->in_h ||
      next + layer->kernel_w > layer->in_w) {
    int8_t *const windows = filters->scratch; /* where there are no sums yet */
    run *= rows;
    rows = 1u;
    a = windows;
    b = copy_window(filters, (uint32_t)y, x, windows);
    copy_window(filters, (uint32_t)y, next, windows + run);
  }
  lutra_patch_set(patches, pair, a, b, (uint32_t)row, run, rows);
}

void lutra_convolve_patches(const lutra_filters *filters) {
  const lutra_conv2d *const layer = filters->layer;
  const lutra_requantization *const how = LUTRA_REQUANTIZATION(layer);
  const uint32_t length = (uint32_t)layer->kernel_h * layer->kernel_w * filters->channels, rows = filters->rows;
  uint32_t *const sums = filters->scratch;
  void *const patches = (int8_t *)filters->scratch + LUTRA_PATCH_SUMS_BYTES(length, rows);
  uint32_t width = 0u, pool_y = 0u; /* columns in whole pooling windows */
  int8_t *output = filters->output;
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
        set_pair(filters, (int32_t)i * layer->stride_h - layer->pad_top, x, p + 1u < count ? x + layer->stride_w : x, patches, p / 2u);
      }
      lutra_patch_dot(patches, count, filters->weights, length, rows, sums);
      if (layer->pool_h * layer->pool_w == 1u) {
        lutra_requantize(how, filters->records, sums, rows, count, pixel, layer->out_c);
        pixel += count * layer->out_c;
        continue;
      }
      for (uint32_t p = 0u; p < count; p++) {
        lutra_store_pixel(how, filters->records, sums + p * rows, rows, pixel, pool_y | pool_x);
        if (++pool_x == layer->pool_w) {
          pool_x = 0u;
          pixel += layer->out_c;
        }
      }
    }
    if (++pool_y == layer->pool_h) {
      pool_y = 0u;
      output = pixel;
    }
  }
}
