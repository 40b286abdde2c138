/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "requantization.h"
#include "window.h"

/* Sums of output (i, j). `weights`: [tap][channel]. */
static void convolve(const lutra_conv2d *layer, const int8_t *weights, const int8_t *input, uint32_t i, uint32_t j,
                     uint32_t *sums) {
  const uint32_t top = i * layer->stride_h, left = j * layer->stride_w;
  const lutra_range rows = lutra_inside(top, layer->kernel_h, layer->pad_top, layer->in_h);
  const lutra_range columns = lutra_inside(left, layer->kernel_w, layer->pad_left, layer->in_w);
  const uint32_t height = rows.end - rows.begin, width = columns.end - columns.begin;
  const uint32_t row_bytes = (uint32_t)layer->in_w * layer->in_c, kernel_bytes = (uint32_t)layer->kernel_w * layer->in_c;
  memset(sums, 0, layer->in_c * sizeof *sums);
  if (height > 0u && width > 0u) {
    const int8_t *const pixel = input + (top + rows.begin - layer->pad_top) * row_bytes +
                                (left + columns.begin - layer->pad_left) * layer->in_c;
    lutra_depthwise(pixel, row_bytes, weights + rows.begin * kernel_bytes + columns.begin * layer->in_c, kernel_bytes, height,
                    width, layer->in_c, sums);
  }
  if (layer->padded == 0u || height * width == (uint32_t)layer->kernel_h * layer->kernel_w) {
    return;
  }
  for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
    for (uint32_t kx = 0u; kx < layer->kernel_w; kx++, weights += layer->in_c) {
      if (ky < rows.begin || ky >= rows.end || kx < columns.begin || kx >= columns.end) {
        for (uint32_t c = 0u; c < layer->in_c; c++) {
          sums[c] += (uint32_t)(layer->input_zero_point * weights[c]);
        }
      }
    }
  }
}

void lutra_conv2d_depthwise(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels,
                            const int8_t *input, int8_t *output, void *scratch) {
  const lutra_requantization how = LUTRA_REQUANTIZATION(layer);
  uint32_t *const sums = scratch;
  for (uint32_t i = 0u; i + layer->pool_h <= layer->out_h; i += layer->pool_h) {
    for (uint32_t j = 0u; j + layer->pool_w <= layer->out_w; j += layer->pool_w) {
      for (uint32_t y = 0u; y < layer->pool_h; y++) {
        for (uint32_t x = 0u; x < layer->pool_w; x++) {
          convolve(layer, weights, input, i + y, j + x, sums);
          if ((y | x) == 0u) {
            lutra_requantize(&how, channels, sums, layer->out_c, output);
          } else {
            lutra_requantize_max(&how, channels, sums, layer->out_c, output);
          }
        }
      }
      output += layer->out_c;
    }
  }
}
