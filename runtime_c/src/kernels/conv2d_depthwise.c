/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "requantization.h"

/* All windows are made to lie inside the image: where one reaches beyond it, it is moved inside, its weights are moved against it, and
 * sums begin with what the padded positions contribute. */
typedef struct {
  const lutra_conv2d *layer;
  const int8_t *weights, *input;
  lutra_windows windows;
  int32_t shift_y, shift_x; /* by which the windows are moved now */
  int8_t *shifted;          /* memory for weights that are moved */
  uint32_t *begin;
} convolution;

/* By how much a window has to move along an axis: it begins at `start`, and takes `extent` of `size` positions then. */
static int32_t shift(int32_t start, int32_t extent, int32_t size) {
  return start < 0 ? -start : start + extent > size ? size - extent - start : 0;
}

static int32_t shift_row(const convolution *conv, uint32_t i) {
  const lutra_conv2d *const layer = conv->layer;
  return shift((int32_t)(i * layer->stride_h) - layer->pad_top, (int32_t)conv->windows.height, layer->in_h);
}

static int32_t shift_column(const convolution *conv, uint32_t j) {
  const lutra_conv2d *const layer = conv->layer;
  return shift((int32_t)(j * layer->stride_w) - layer->pad_left, (int32_t)conv->windows.width, layer->in_w);
}

/* Weights and beginnings of windows that are moved by (shift_y, shift_x). */
static void move_weights(convolution *conv, int32_t shift_y, int32_t shift_x) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t channels = layer->out_c, height = conv->windows.height, width = conv->windows.width;
  if (shift_y == conv->shift_y && shift_x == conv->shift_x) {
    return;
  }
  conv->shift_y = shift_y;
  conv->shift_x = shift_x;
  const int8_t *weights = conv->weights;
  memset(conv->begin, 0, channels * sizeof *conv->begin);
  memset(conv->shifted, 0, height * width * channels);
  for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
    for (uint32_t kx = 0u; kx < layer->kernel_w; kx++) {
      const uint32_t y = ky - (uint32_t)shift_y, x = kx - (uint32_t)shift_x; /* wrap outside the window */
      if (y < height && x < width) {
        memcpy(conv->shifted + (y * width + x) * channels, weights, channels);
      } else if (layer->padded != 0u) {
        for (uint32_t c = 0u; c < channels; c++) {
          conv->begin[c] += (uint32_t)(layer->input_zero_point * weights[c]);
        }
      }
      weights += channels;
    }
  }
}

/* Outputs of `pixels` adjacent rows, or columns, from (i, j) on, whose windows are moved alike. */
static void convolve(convolution *conv, uint32_t i, uint32_t j, uint32_t rows, uint32_t pixels, int8_t *output) {
  const lutra_conv2d *const layer = conv->layer;
  const int32_t shift_y = shift_row(conv, i), shift_x = shift_column(conv, j);
  const int32_t y = (int32_t)(i * layer->stride_h) - layer->pad_top + shift_y;
  const int32_t x = (int32_t)(j * layer->stride_w) - layer->pad_left + shift_x;
  const uint32_t channels = layer->out_c;
  move_weights(conv, shift_y, shift_x);
  conv->windows.input_step = rows != 0u ? layer->stride_h * conv->windows.row : layer->stride_w * channels;
  conv->windows.output_step = rows != 0u ? layer->out_w * channels : channels;
  lutra_depthwise(&conv->windows, conv->input + (uint32_t)y * conv->windows.row + (uint32_t)x * channels, pixels, output);
}

/* Rectangles of outputs whose windows are moved alike, line by line along the longer side. */
static void convolve_all(convolution *conv, int8_t *output) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t channels = layer->out_c, row = layer->out_w * channels;
  for (uint32_t i = 0u, height; i < layer->out_h; i += height) {
    for (height = 1u; i + height < layer->out_h && shift_row(conv, i + height) == shift_row(conv, i); height++) {
    }
    for (uint32_t j = 0u, width; j < layer->out_w; j += width) {
      for (width = 1u; j + width < layer->out_w && shift_column(conv, j + width) == shift_column(conv, j); width++) {
      }
      int8_t *const first = output + i * row + j * channels;
      for (uint32_t line = 0u; line < (height > width ? width : height); line++) {
        if (height > width) {
          convolve(conv, i, j + line, 1u, height, first + line * channels);
        } else {
          convolve(conv, i + line, j, 0u, width, first + line * row);
        }
      }
    }
  }
}

/* The greatest of each pooling window. `value`: memory for a pixel. */
static void convolve_pooled(convolution *conv, int8_t *output, int8_t *value) {
  const lutra_conv2d *const layer = conv->layer;
  for (uint32_t i = 0u; i + layer->pool_h <= layer->out_h; i += layer->pool_h) {
    for (uint32_t j = 0u; j + layer->pool_w <= layer->out_w; j += layer->pool_w) {
      convolve(conv, i, j, 0u, 1u, output);
      for (uint32_t y = 0u; y < layer->pool_h; y++) {
        for (uint32_t x = y == 0u; x < layer->pool_w; x++) {
          convolve(conv, i + y, j + x, 0u, 1u, value);
          for (uint32_t c = 0u; c < layer->out_c; c++) {
            output[c] = value[c] > output[c] ? value[c] : output[c];
          }
        }
      }
      output += layer->out_c;
    }
  }
}

void lutra_conv2d_depthwise(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels,
                            const int8_t *input, int8_t *output, void *scratch) {
  const uint32_t out_c = layer->out_c;
  uint32_t *const sums = scratch, *const begin = sums + LUTRA_LINE_PIXELS * out_c;
  int8_t *const shifted = (int8_t *)(begin + out_c);
  convolution conv = {
      .layer = layer, .weights = weights, .input = input, .shift_y = INT32_MAX, .shifted = shifted, .begin = begin,
      .windows = {.how = LUTRA_REQUANTIZATION(layer), .records = channels, .weights = shifted, .begin = begin, .channels = out_c,
                  .height = layer->kernel_h < layer->in_h ? layer->kernel_h : layer->in_h,
                  .width = layer->kernel_w < layer->in_w ? layer->kernel_w : layer->in_w, .row = layer->in_w * out_c, .sums = sums}};
  if (layer->pool_h * layer->pool_w == 1u) {
    convolve_all(&conv, output);
  } else {
    convolve_pooled(&conv, output, (int8_t *)(sums + out_c)); /* one pixel at a time needs no more sums */
  }
}
