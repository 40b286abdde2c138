/* SPDX-License-Identifier: Apache-2.0 */
#include "../bytes.h"
#include "requantization.h"

/* How windows follow each other along an axis, and how many of a window's positions fit into the image. */
typedef struct {
  int32_t stride, padding, extent, size;
  uint32_t out, input_step, output_step; /* steps of an output: bytes */
} axis;

/* All windows are made to lie inside the image: where one reaches beyond it, it is moved inside, its weights are moved against it, and
 * sums begin with what the padded positions contribute. */
typedef struct {
  const lutra_conv2d *layer;
  const int8_t *weights, *input;
  axis axes[2]; /* rows, columns */
  lutra_windows windows;
  int32_t shifts[2]; /* by which windows are moved now */
  int8_t *shifted;   /* weights that are moved */
  uint32_t *begin;
} convolution;

/* By how much the window of output i has to move. */
LUTRA_OUT_OF_LINE static int32_t shift(const axis *along, uint32_t i) {
  const int32_t start = (int32_t)i * along->stride - along->padding, end = start + along->extent;
  return start < 0 ? -start : end > along->size ? along->size - end : 0;
}

/* How many outputs from i on have windows that are moved alike. */
static uint32_t alike(const axis *along, uint32_t i) {
  uint32_t end = i;
  do {
    end++;
  } while (end < along->out && shift(along, end) == shift(along, i));
  return end - i;
}

/* Weights and beginnings of windows that are moved. */
static void move_weights(const convolution *conv) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t channels = layer->out_c, height = conv->windows.height, width = conv->windows.width;
  const int8_t *weights = conv->weights;
  lutra_clear(conv->begin, channels);
  lutra_fill(conv->shifted, 0, height * width * channels);
  for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
    for (uint32_t kx = 0u; kx < layer->kernel_w; kx++) {
      const uint32_t y = ky - (uint32_t)conv->shifts[0], x = kx - (uint32_t)conv->shifts[1]; /* wrap outside the window */
      if (y < height && x < width) {
        lutra_copy(conv->shifted + (y * width + x) * channels, weights, channels);
      } else if (layer->padded != 0u) {
        for (uint32_t c = 0u; c < channels; c++) {
          conv->begin[c] += (uint32_t)(layer->input_zero_point * weights[c]);
        }
      }
      weights += channels;
    }
  }
}

/* Outputs from (i, j) on, `pixels` of a column (0) or a row (1), whose windows are moved alike. */
LUTRA_OUT_OF_LINE static void convolve(convolution *conv, uint32_t i, uint32_t j, uint32_t along, uint32_t pixels, int8_t *output) {
  const axis *const rows = &conv->axes[0], *const columns = &conv->axes[1];
  const int32_t shift_y = shift(rows, i), shift_x = shift(columns, j);
  if (shift_y != conv->shifts[0] || shift_x != conv->shifts[1]) {
    conv->shifts[0] = shift_y;
    conv->shifts[1] = shift_x;
    move_weights(conv);
  }
  conv->windows.input_step = conv->axes[along].input_step;
  conv->windows.output_step = conv->axes[along].output_step;
  const int32_t y = (int32_t)i * rows->stride - rows->padding + shift_y, x = (int32_t)j * columns->stride - columns->padding + shift_x;
  lutra_depthwise(&conv->windows, conv->input + (uint32_t)y * conv->windows.row + (uint32_t)x * conv->windows.channels, pixels, output);
}

/* Rectangles of outputs whose windows are moved alike, line by line along the longer side. */
static void convolve_all(convolution *conv, int8_t *output) {
  const axis *const rows = &conv->axes[0], *const columns = &conv->axes[1];
  for (uint32_t i = 0u, height; i < rows->out; i += height) {
    height = alike(rows, i);
    int8_t *first = output;
    for (uint32_t j = 0u, width; j < columns->out; j += width) {
      width = alike(columns, j);
      const uint32_t along = height <= width;
      for (uint32_t line = 0u; line < (along ? height : width); line++) {
        convolve(conv, along ? i + line : i, along ? j : j + line, along, along ? width : height,
                 first + line * conv->axes[1u - along].output_step);
      }
      first += width * columns->output_step;
    }
    output += height * rows->output_step;
  }
}

/* The greatest of each pooling window. `value`: memory for a pixel. */
static void convolve_pooled(convolution *conv, int8_t *output, int8_t *value) {
  const lutra_conv2d *const layer = conv->layer;
  for (uint32_t i = 0u; i + layer->pool_h <= layer->out_h; i += layer->pool_h) {
    for (uint32_t j = 0u; j + layer->pool_w <= layer->out_w; j += layer->pool_w) {
      lutra_fill(output, INT8_MIN, layer->out_c);
      for (uint32_t y = 0u; y < layer->pool_h; y++) {
        for (uint32_t x = 0u; x < layer->pool_w; x++) {
          convolve(conv, i + y, j + x, 0u, 1u, value);
          lutra_keep_greatest(output, value, layer->out_c);
        }
      }
      output += layer->out_c;
    }
  }
}

void lutra_conv2d_depthwise(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels,
                            const int8_t *input, int8_t *output, void *scratch) {
  const uint32_t out_c = layer->out_c, row = layer->in_w * out_c;
  const int32_t height = layer->kernel_h < layer->in_h ? layer->kernel_h : layer->in_h;
  const int32_t width = layer->kernel_w < layer->in_w ? layer->kernel_w : layer->in_w;
  uint32_t *const sums = scratch, *const begin = sums + LUTRA_LINE_PIXELS * out_c;
  int8_t *const shifted = (int8_t *)(begin + out_c);
  convolution conv = {
      .layer = layer, .weights = weights, .input = input, .shifts = {INT32_MAX, 0}, .shifted = shifted, .begin = begin,
      .axes = {{layer->stride_h, layer->pad_top, height, layer->in_h, layer->out_h, layer->stride_h * row, layer->out_w * out_c},
               {layer->stride_w, layer->pad_left, width, layer->in_w, layer->out_w, layer->stride_w * out_c, out_c}},
      .windows = {.how = LUTRA_REQUANTIZATION(layer), .records = channels, .weights = shifted, .begin = begin, .channels = out_c,
                  .height = (uint32_t)height, .width = (uint32_t)width, .row = row, .sums = sums}};
  if (layer->pool_h * layer->pool_w == 1u) {
    convolve_all(&conv, output);
  } else {
    convolve_pooled(&conv, output, (int8_t *)(sums + out_c)); /* one pixel at a time needs no more sums */
  }
}
