/* SPDX-License-Identifier: Apache-2.0 */
#include "../bytes.h"
#include "requantization.h"

/* Members of a lutra_conv2d that are about rows (0) or columns (1): those about columns come next. */
#define SIZE(layer, member, axis) (((const uint16_t *)(layer))[offsetof(lutra_conv2d, member) / sizeof(uint16_t) + (axis)])
#define COUNT(layer, member, axis) (((const uint8_t *)(layer))[offsetof(lutra_conv2d, member) + (axis)])

/* All windows are made to lie inside the image: where one reaches beyond it, it is moved inside, its weights are moved against it, and
 * sums begin with what the padded positions contribute. */
typedef struct {
  const lutra_conv2d *layer;
  const int8_t *weights, *input;
  lutra_windows windows;
  int32_t shift_y, shift_x; /* by which windows are moved now */
  int8_t *shifted;          /* weights that are moved */
  uint32_t *begin;
} convolution;

/* How many of a window's positions fit into the image. */
static int32_t extent(const lutra_conv2d *layer, uint32_t axis) {
  const int32_t size = SIZE(layer, in_h, axis), kernel = COUNT(layer, kernel_h, axis);
  return kernel < size ? kernel : size;
}

/* By how much the window of output i has to move. */
LUTRA_OUT_OF_LINE static int32_t shift(const lutra_conv2d *layer, uint32_t axis, uint32_t i) {
  const int32_t start = (int32_t)i * COUNT(layer, stride_h, axis) - COUNT(layer, pad_top, axis);
  const int32_t beyond = start + extent(layer, axis) - SIZE(layer, in_h, axis);
  return start < 0 ? -start : beyond > 0 ? -beyond : 0;
}

/* How many outputs from i on have windows that are moved alike. */
LUTRA_OUT_OF_LINE static uint32_t alike(const lutra_conv2d *layer, uint32_t axis, uint32_t i) {
  const int32_t first = shift(layer, axis, i);
  uint32_t end = i;
  do {
    end++;
  } while (end < SIZE(layer, out_h, axis) && shift(layer, axis, end) == first);
  return end - i;
}

/* Weights and beginnings of windows that are moved. */
static void move_weights(const convolution *conv) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t channels = conv->windows.channels, height = conv->windows.height, width = conv->windows.width;
  const int8_t *weights = conv->weights;
  lutra_clear(conv->begin, channels);
  lutra_fill(conv->shifted, 0, height * width * channels);
  for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
    for (uint32_t kx = 0u; kx < layer->kernel_w; kx++) {
      const uint32_t y = ky - (uint32_t)conv->shift_y, x = kx - (uint32_t)conv->shift_x; /* wrap outside the window */
      if (y < height && x < width) {
        lutra_copy_bytes(conv->shifted + (y * width + x) * channels, weights, channels);
      } else if (layer->padded != 0u) {
        lutra_add_products(conv->begin, weights, layer->input_zero_point, channels);
      }
      weights += channels;
    }
  }
}

/* A rectangle of outputs, the first one (i, j), whose windows are moved alike: line by line along the longer side. */
LUTRA_OUT_OF_LINE static void convolve(convolution *conv, uint32_t i, uint32_t j, uint32_t height, uint32_t width, int8_t *output) {
  const lutra_conv2d *const layer = conv->layer;
  lutra_windows *const windows = &conv->windows;
  const int32_t shift_y = shift(layer, 0u, i), shift_x = shift(layer, 1u, j), channels = layer->out_c, row = layer->in_w * channels;
  if (shift_y != conv->shift_y || shift_x != conv->shift_x) {
    conv->shift_y = shift_y;
    conv->shift_x = shift_x;
    move_weights(conv);
  }
  const int32_t y = (int32_t)i * layer->stride_h - layer->pad_top + shift_y, x = (int32_t)j * layer->stride_w - layer->pad_left + shift_x;
  const int8_t *input = conv->input + y * row + x * channels;
  uint32_t lines = height, pixels = width, next_input = (uint32_t)(layer->stride_h * row);
  uint32_t next_output = (uint32_t)(layer->out_w * channels);
  windows->input_step = (uint32_t)(layer->stride_w * channels);
  windows->output_step = (uint32_t)channels;
  if (height > width) {
    lines = width;
    pixels = height;
    const uint32_t along_input = next_input, along_output = next_output;
    next_input = windows->input_step;
    next_output = windows->output_step;
    windows->input_step = along_input;
    windows->output_step = along_output;
  }
  for (; lines > 0u; lines--) {
    lutra_depthwise(windows, input, pixels, output);
    input += next_input;
    output += next_output;
  }
}

static void convolve_all(convolution *conv, int8_t *output) {
  const lutra_conv2d *const layer = conv->layer;
  for (uint32_t i = 0u, height; i < layer->out_h; i += height) {
    height = alike(layer, 0u, i);
    for (uint32_t j = 0u, width; j < layer->out_w; j += width) {
      width = alike(layer, 1u, j);
      convolve(conv, i, j, height, width, output + (i * layer->out_w + j) * layer->out_c);
    }
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
          convolve(conv, i + y, j + x, 1u, 1u, value);
          lutra_keep_greatest(output, value, layer->out_c);
        }
      }
      output += layer->out_c;
    }
  }
}

void lutra_conv2d_depthwise(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels,
                            const int8_t *input, int8_t *output, void *scratch) {
  const uint32_t out_c = layer->out_c;
  uint32_t *const sums = scratch;
  convolution conv;
  conv.layer = layer;
  conv.weights = weights;
  conv.input = input;
  conv.shift_y = INT32_MAX; /* not yet moved */
  conv.begin = sums + LUTRA_LINE_PIXELS * out_c;
  conv.shifted = (int8_t *)(conv.begin + out_c);
  conv.windows.how = LUTRA_REQUANTIZATION(layer);
  conv.windows.records = channels;
  conv.windows.weights = conv.shifted;
  conv.windows.begin = conv.begin;
  conv.windows.channels = out_c;
  conv.windows.height = (uint32_t)extent(layer, 0u);
  conv.windows.width = (uint32_t)extent(layer, 1u);
  conv.windows.row = layer->in_w * out_c;
  conv.windows.sums = sums;
  if (layer->pool_h * layer->pool_w == 1u) {
    convolve_all(&conv, output);
  } else {
    convolve_pooled(&conv, output, (int8_t *)(sums + out_c)); /* one pixel at a time needs no more sums */
  }
}
