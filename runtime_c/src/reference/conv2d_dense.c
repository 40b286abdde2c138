/* SPDX-License-Identifier: Apache-2.0 */
#include "dot.h"
#include "requantize.h"

/* Exact division by counting: '/' would link a routine on CPUs without the instruction. */
static uint32_t quotient(uint32_t dividend, uint32_t divisor) {
  uint32_t result = 0u;
  for (; dividend >= divisor; dividend -= divisor) {
    result++;
  }
  return result;
}

/* Sum of output (i, j). `weights`: of the output channel; `input`: from its group's first channel on. */
static uint32_t convolve(const lutra_conv2d *layer, const int8_t *weights, const int8_t *input, uint32_t channels, uint32_t i,
                        uint32_t j) {
  uint32_t sum = 0u;
  for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
    const uint32_t y = i * layer->stride_h + ky - layer->pad_top;
    for (uint32_t kx = 0u, taps; kx < layer->kernel_w; kx += taps) {
      const uint32_t x = j * layer->stride_w + kx - layer->pad_left;
      taps = 1u;
      if (y < layer->in_h && x < layer->in_w) {
        if (channels == layer->in_c) { /* the taps' inputs are adjacent */
          const uint32_t in_kernel = layer->kernel_w - kx, in_image = layer->in_w - x;
          taps = in_kernel < in_image ? in_kernel : in_image;
        }
        sum += lutra_dot(weights, input + (y * layer->in_w + x) * layer->in_c, taps * channels);
      } else {
        for (uint32_t c = 0u; c < channels; c++) {
          sum += (uint32_t)(weights[c] * layer->input_zero_point);
        }
      }
      weights += taps * channels;
    }
  }
  return sum;
}

void lutra_conv2d_dense(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                        int8_t *output) {
  const uint32_t in_group = quotient(layer->in_c, layer->groups), out_group = quotient(layer->out_c, layer->groups);
  const uint32_t row_bytes = (uint32_t)layer->kernel_h * layer->kernel_w * in_group;
  for (uint32_t i = 0u; i + layer->pool_h <= layer->out_h; i += layer->pool_h) {
    for (uint32_t j = 0u; j + layer->pool_w <= layer->out_w; j += layer->pool_w) {
      const int8_t *row = weights, *group = input;
      for (uint32_t n = 0u, left = out_group; n < layer->out_c; n++, left--) {
        if (left == 0u) {
          left = out_group;
          group += in_group;
        }
        *output = INT8_MIN;
        for (uint32_t y = 0u; y < layer->pool_h; y++) {
          for (uint32_t x = 0u; x < layer->pool_w; x++) {
            const uint32_t sum = convolve(layer, row, group, in_group, i + y, j + x);
            lutra_conv2d_store(layer, channels[n], sum, output);
          }
        }
        output++;
        row += row_bytes;
      }
    }
  }
}
