/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "requantization.h"
#include "window.h"

/* Sums of output (i, j). `weights`: [tap][channel]; `window`: memory for a window, if layer->padded. */
static void convolve(const lutra_conv2d *layer, const int8_t *weights, const int8_t *input, uint32_t i, uint32_t j,
                     int8_t *window, uint32_t *sums) {
  const uint32_t top = i * layer->stride_h, left = j * layer->stride_w, channels = layer->in_c;
  const lutra_range y = lutra_inside(top, layer->kernel_h, layer->pad_top, layer->in_h);
  const lutra_range x = lutra_inside(left, layer->kernel_w, layer->pad_left, layer->in_w);
  const uint32_t height = y.end - y.begin, width = x.end - x.begin, first_tap = y.begin * layer->kernel_w + x.begin;
  const uint32_t image_row = layer->in_w * channels, window_row = layer->kernel_w * channels;
  memset(sums, 0, channels * sizeof *sums);
  if (layer->padded != 0u && (height < layer->kernel_h || width < layer->kernel_w)) {
    memset(window, layer->input_zero_point, layer->kernel_h * window_row);
    for (uint32_t row = 0u; row < height && width > 0u; row++) {
      memcpy(window + first_tap * channels + row * window_row,
             input + (top + y.begin - layer->pad_top + row) * image_row + (left + x.begin - layer->pad_left) * channels,
             width * channels);
    }
    lutra_depthwise(window, window_row, weights, window_row, layer->kernel_h, layer->kernel_w, channels, sums);
  } else if (height > 0u && width > 0u) {
    lutra_depthwise(input + (top + y.begin - layer->pad_top) * image_row + (left + x.begin - layer->pad_left) * channels, image_row,
                    weights + first_tap * channels, window_row, height, width, channels, sums);
  }
}

void lutra_conv2d_depthwise(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels,
                            const int8_t *input, int8_t *output, void *scratch) {
  const lutra_requantization how = LUTRA_REQUANTIZATION(layer);
  uint32_t *const sums = scratch;
  int8_t *const window = (int8_t *)(sums + layer->in_c);
  for (uint32_t i = 0u; i + layer->pool_h <= layer->out_h; i += layer->pool_h) {
    for (uint32_t j = 0u; j + layer->pool_w <= layer->out_w; j += layer->pool_w) {
      for (uint32_t y = 0u; y < layer->pool_h; y++) {
        for (uint32_t x = 0u; x < layer->pool_w; x++) {
          convolve(layer, weights, input, i + y, j + x, window, sums);
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
