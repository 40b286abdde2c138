/* SPDX-License-Identifier: Apache-2.0 */
#include "naive.h"

#include "harness.h"

int64_t floor_shift(int64_t value, int shift) {
  const int64_t divisor = (int64_t)1 << shift;
  return value / divisor - (value % divisor < 0);
}

int8_t naive_scale(int64_t value, int64_t multiplier, int shift, int zero_point, int minimum, int maximum) {
  const int64_t product = value * multiplier + ((int64_t)1 << (shift - 1));
  CHECK(-((int64_t)1 << 31) <= product && product < ((int64_t)1 << 31));
  const int64_t y = zero_point + floor_shift(product, shift);
  return (int8_t)(y < minimum ? minimum : y > maximum ? maximum : y);
}

static int8_t requantize(int64_t sum, lutra_channel channel, int bias_shift, int acc_shift, int output_shift, int zero_point,
                         int minimum, int maximum) {
  const int64_t acc = channel.bias * ((int64_t)1 << bias_shift) + sum;
  const int64_t v = floor_shift(acc, acc_shift);
  CHECK(-(1 << 19) < v && v < (1 << 19));
  return naive_scale(v, channel.multiplier % 4096, output_shift + channel.multiplier / 4096, zero_point, minimum, maximum);
}

static int8_t conv2d_at(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                        int i, int j, int n) {
  const int in_group = layer->in_c / layer->groups, group = n / (layer->out_c / layer->groups);
  int64_t sum = 0;
  for (int ky = 0; ky < layer->kernel_h; ky++) {
    for (int kx = 0; kx < layer->kernel_w; kx++) {
      for (int c = 0; c < in_group; c++) {
        const int y = i * layer->stride_h + ky - layer->pad_top, x = j * layer->stride_w + kx - layer->pad_left;
        const int inside = 0 <= y && y < layer->in_h && 0 <= x && x < layer->in_w;
        const int weight = weights[((n * layer->kernel_h + ky) * layer->kernel_w + kx) * in_group + c];
        sum += weight * (inside ? input[(y * layer->in_w + x) * layer->in_c + group * in_group + c] : layer->input_zero_point);
      }
    }
  }
  return requantize(sum, channels[n], layer->bias_shift, layer->acc_shift, layer->output_shift, layer->output_zero_point,
                    layer->output_min, layer->output_max);
}

void naive_conv2d(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                  int8_t *output) {
  for (int i = 0; i < layer->out_h / layer->pool_h; i++) {
    for (int j = 0; j < layer->out_w / layer->pool_w; j++) {
      for (int n = 0; n < layer->out_c; n++) {
        int8_t best = -128;
        for (int y = i * layer->pool_h; y < (i + 1) * layer->pool_h; y++) {
          for (int x = j * layer->pool_w; x < (j + 1) * layer->pool_w; x++) {
            const int8_t value = conv2d_at(layer, weights, channels, input, y, x, n);
            best = value > best ? value : best;
          }
        }
        *output++ = best;
      }
    }
  }
}

void naive_linear(const lutra_linear *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                  int8_t *output) {
  for (int n = 0; n < layer->out_c; n++) {
    int64_t sum = 0;
    for (int c = 0; c < layer->in_c; c++) {
      sum += weights[n * layer->in_c + c] * input[c];
    }
    output[n] = requantize(sum, channels[n], layer->bias_shift, layer->acc_shift, layer->output_shift, layer->output_zero_point,
                           layer->output_min, layer->output_max);
  }
}

uint8_t *packed_indices(const uint8_t *indices, int out_c, int taps, int subvectors, int index_bits) {
  const int row_bytes = index_bits == 8 ? subvectors : (subvectors + 1) / 2;
  uint8_t *const packed = buffer((size_t)(taps * out_c * row_bytes));
  uint8_t *byte = packed;
  for (int tap = 0; tap < taps; tap++) {
    for (int group = 0; group < subvectors; group += 8) {
      for (int n = 0; n < out_c; n++) {
        const uint8_t *const row = indices + (n * taps + tap) * subvectors;
        const int end = group + 8 < subvectors ? group + 8 : subvectors;
        for (int m = group; m < end; m++) {
          if (index_bits == 8) {
            *byte++ = row[m];
          } else if (m % 2 == 0) {
            *byte++ = (uint8_t)(row[m] + 16 * (m + 1 < end ? row[m + 1] : 0));
          }
        }
      }
    }
  }
  CHECK(byte == packed + taps * out_c * row_bytes);
  return packed;
}

int8_t *decoded_weights(const uint8_t *indices, int out_c, int taps, int channels, const int8_t *codebook, int subvector) {
  const int subvectors = (channels + subvector - 1) / subvector;
  int8_t *const weights = buffer((size_t)(out_c * taps * channels));
  for (int row = 0; row < out_c * taps; row++) {
    for (int c = 0; c < channels; c++) {
      weights[row * channels + c] = codebook[indices[row * subvectors + c / subvector] * subvector + c % subvector];
    }
  }
  return weights;
}
