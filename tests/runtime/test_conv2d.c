/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "harness.h"
#include "naive.h"
#include "random_tables.h"

enum { PLAIN = 1, POOLED = 3 };

/* Any kernel, stride and padding with at least one pooling window; images may be smaller than kernels. */
static lutra_conv2d random_layer(int in_c, int out_c, int largest_pool) {
  lutra_conv2d layer = {.in_c = (uint16_t)in_c, .out_c = (uint16_t)out_c, .groups = 1};
  layer.kernel_h = (uint8_t)between(1, 4);
  layer.kernel_w = (uint8_t)between(1, 4);
  layer.stride_h = (uint8_t)between(1, 3);
  layer.stride_w = (uint8_t)between(1, 3);
  layer.pool_h = (uint8_t)between(1, largest_pool);
  layer.pool_w = (uint8_t)between(1, largest_pool);
  for (;;) {
    layer.in_h = (uint16_t)between(1, 8);
    layer.in_w = (uint16_t)between(1, 8);
    layer.pad_top = (uint8_t)between(0, layer.kernel_h - 1);
    layer.pad_left = (uint8_t)between(0, layer.kernel_w - 1);
    const int height = layer.in_h + layer.pad_top + between(0, layer.kernel_h - 1) - layer.kernel_h;
    const int width = layer.in_w + layer.pad_left + between(0, layer.kernel_w - 1) - layer.kernel_w;
    if (height >= 0 && width >= 0) {
      layer.out_h = (uint16_t)(height / layer.stride_h + 1);
      layer.out_w = (uint16_t)(width / layer.stride_w + 1);
      if (layer.out_h >= layer.pool_h && layer.out_w >= layer.pool_w) {
        break;
      }
    }
  }
  layer.input_zero_point = (int8_t)between(-128, 127);
  layer.output_zero_point = (int8_t)between(-40, 40);
  layer.output_min = (int8_t)between(-128, -100);
  layer.output_max = (int8_t)between(100, 127);
  return layer;
}

static const lutra_channel *add_channels(lutra_conv2d *layer, int64_t bound) {
  shifts chosen;
  const lutra_channel *const channels = random_channels(layer->out_c, bound, &chosen);
  layer->bias_shift = chosen.bias_shift;
  layer->acc_shift = chosen.acc_shift;
  layer->output_shift = chosen.output_shift;
  return channels;
}

static int taps(const lutra_conv2d *layer) { return layer->kernel_h * layer->kernel_w; }

static int output_size(const lutra_conv2d *layer) {
  return layer->out_h / layer->pool_h * (layer->out_w / layer->pool_w) * layer->out_c;
}

static const int8_t *random_image(const lutra_conv2d *layer) {
  return random_bytes((size_t)(layer->in_h * layer->in_w * layer->in_c));
}

static void *scratch_of(const lutra_conv2d *layer) {
  const size_t codewords = (size_t)1 << layer->log2_codewords;
  return buffer(
      LUTRA_CONV2D_LUT_SCRATCH_BYTES(layer->kernel_h, layer->stride_h, layer->out_h, layer->out_w, layer->out_c, codewords));
}

static void check_against_naive(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels,
                                const int8_t *input, const int8_t *output) {
  int8_t *const expected = buffer((size_t)output_size(layer));
  naive_conv2d(layer, weights, channels, input, expected);
  check_outputs(output, expected, output_size(layer), layer->output_min, layer->output_max);
}

static void check_dense(lutra_conv2d layer) {
  const int in_group = layer.in_c / layer.groups;
  const int8_t *const weights = random_bytes((size_t)(layer.out_c * taps(&layer) * in_group));
  const lutra_channel *const channels = add_channels(&layer, 128 * 32 * taps(&layer) * in_group);
  const int8_t *const input = random_image(&layer);
  int8_t *const output = random_bytes((size_t)output_size(&layer));
  lutra_conv2d_dense(&layer, weights, channels, input, output);
  check_against_naive(&layer, weights, channels, input, output);
}

static void dense_follows_the_specification(void) { check_dense(random_layer(between(1, 20), between(1, 9), PLAIN)); }

static void dense_pools(void) { check_dense(random_layer(between(1, 20), between(1, 9), POOLED)); }

static void dense_has_groups(void) {
  const int groups = between(2, 4);
  lutra_conv2d layer = random_layer(groups * between(1, 3), groups * between(1, 3), POOLED);
  layer.groups = (uint16_t)groups;
  check_dense(layer);
}

static void check_depthwise(lutra_conv2d layer) {
  layer.groups = layer.in_c;
  const int8_t *const weights = random_bytes((size_t)(taps(&layer) * layer.in_c));
  int8_t *const rows = buffer((size_t)(layer.in_c * taps(&layer))); /* [channel][tap] */
  for (int i = 0; i < layer.in_c * taps(&layer); i++) {
    rows[i % layer.in_c * taps(&layer) + i / layer.in_c] = weights[i];
  }
  const lutra_channel *const channels = add_channels(&layer, 128 * 32 * taps(&layer));
  const int8_t *const input = random_image(&layer);
  int8_t *const output = random_bytes((size_t)output_size(&layer));
  lutra_conv2d_depthwise(&layer, weights, channels, input, output);
  check_against_naive(&layer, rows, channels, input, output);
}

static void depthwise_follows_the_specification(void) {
  const int channels = between(1, 20);
  check_depthwise(random_layer(channels, channels, PLAIN));
}

static void depthwise_pools(void) {
  const int channels = between(1, 20);
  check_depthwise(random_layer(channels, channels, POOLED));
}

/* Both orders of the sum give the specified output. */
static void check_coded(lutra_conv2d layer, int log2_codewords, int subvector, int index_bits) {
  layer.log2_codewords = (uint8_t)log2_codewords;
  layer.subvector = (uint8_t)subvector;
  layer.index_bits = (uint8_t)index_bits;
  const int codewords = 1 << log2_codewords, subvectors = (layer.in_c + subvector - 1) / subvector;
  const int8_t *const codebook = random_codebook(codewords, subvector), *const input = random_image(&layer);
  const uint8_t *const indices = random_indices(layer.out_c * taps(&layer) * subvectors, codewords);
  const uint8_t *const packed = packed_indices(indices, layer.out_c, taps(&layer), subvectors, index_bits);
  const int8_t *const weights = decoded_weights(indices, layer.out_c, taps(&layer), layer.in_c, codebook, subvector);
  const lutra_channel *const channels = add_channels(&layer, 16 * 255 * subvectors * taps(&layer));
  int8_t *const output = random_bytes((size_t)output_size(&layer));
  lutra_conv2d_lut(&layer, codebook, packed, channels, input, output, scratch_of(&layer));
  check_against_naive(&layer, weights, channels, input, output);
  int8_t *const decoded = random_bytes((size_t)output_size(&layer));
  lutra_conv2d_decode(&layer, codebook, packed, channels, input, decoded);
  check_against_naive(&layer, weights, channels, input, decoded);
}

static void coded_follows_the_specification(void) {
  check_coded(random_layer(between(1, 20), between(1, 9), PLAIN), 4, 3, between(0, 1) ? 4 : 8);
}

static void coded_pools(void) {
  check_coded(random_layer(between(1, 20), between(1, 9), POOLED), 4, 3, between(0, 1) ? 4 : 8);
}

static void coded_follows_the_specification_for_every_coding(void) {
  for (int log2_codewords = 1; log2_codewords <= 8; log2_codewords++) {
    for (int subvector = 1; subvector <= 16; subvector++) {
      for (int index_bits = log2_codewords <= 4 ? 4 : 8; index_bits <= 8; index_bits += 4) {
        check_coded(random_layer(between(1, 6 * subvector), between(1, 5), POOLED), log2_codewords, subvector, index_bits);
        check_and_free_buffers();
      }
    }
  }
}

static void all_positions_may_be_padding_but_one(void) {
  lutra_conv2d layer = random_layer(5, 3, PLAIN);
  layer.in_h = layer.in_w = 1;
  layer.kernel_h = layer.kernel_w = 3;
  layer.stride_h = layer.stride_w = 1;
  layer.pad_top = layer.pad_left = 2;
  layer.out_h = layer.out_w = 3;
  check_dense(layer);
  check_coded(layer, 3, 2, 8);
}

/* A 1 x 3 image of one channel, kernel (1, 2, 4), zero point 1 at both ends, outputs as they are: by hand. */
static void padding_is_the_zero_point(void) {
  static const int8_t weights[] = {1, 2, 4}, image[] = {10, 20, -30};
  static const uint8_t indices[] = {0x00, 0x01, 0x02};
  static const lutra_channel channel = {3, 2};
  lutra_conv2d layer = {
      .in_h = 1, .in_w = 3, .in_c = 1, .out_h = 1, .out_w = 3, .out_c = 1, .groups = 1, .kernel_h = 1, .kernel_w = 3,
      .stride_h = 1, .stride_w = 1, .pad_left = 1, .pool_h = 1, .pool_w = 1, .input_zero_point = 1, .output_min = -128,
      .output_max = 127, .output_shift = 1, .log2_codewords = 2, .subvector = 1, .index_bits = 8,
  };
  static const int8_t expected[] = {3 + 1 + 20 + 80, 3 + 10 + 40 - 120, 3 + 20 - 60 + 4};
  const int8_t codebook[] = {1, 2, 4, 0};
  int8_t outputs[4][3];
  lutra_conv2d_dense(&layer, weights, &channel, image, outputs[0]);
  lutra_conv2d_depthwise(&layer, weights, &channel, image, outputs[1]);
  lutra_conv2d_decode(&layer, codebook, indices, &channel, image, outputs[2]);
  lutra_conv2d_lut(&layer, codebook, indices, &channel, image, outputs[3], scratch_of(&layer));
  for (int kernel = 0; kernel < 4; kernel++) {
    CHECK(memcmp(outputs[kernel], expected, 3) == 0);
  }
}

/* Shapes and shifts are right, all else is noise: no access outside a buffer, nothing undefined, outputs within the clamp. */
static void damaged_tables_do_no_harm(void) {
  const int log2_codewords = between(1, 8), subvector = between(1, 16), in_c = between(1, 40);
  lutra_conv2d layer = random_layer(in_c, between(0, 1) ? in_c : between(1, 20), POOLED);
  layer.bias_shift = (uint8_t)between(0, 16);
  layer.acc_shift = (uint8_t)between(0, 16);
  layer.output_shift = (uint8_t)between(1, 15);
  layer.log2_codewords = (uint8_t)log2_codewords;
  layer.subvector = (uint8_t)subvector;
  layer.index_bits = log2_codewords <= 4 && between(0, 1) ? 4 : 8;
  const int subvectors = (layer.in_c + subvector - 1) / subvector;
  const int row_bytes = layer.index_bits == 8 ? subvectors : (subvectors + 1) / 2;
  const int8_t *const codebook = random_bytes((size_t)subvector << log2_codewords), *const input = random_image(&layer);
  const uint8_t *const indices = (const uint8_t *)random_bytes((size_t)(taps(&layer) * layer.out_c * row_bytes));
  const int8_t *const weights = random_bytes((size_t)(layer.out_c * taps(&layer) * layer.in_c));
  const lutra_channel *const channels = buffer(layer.out_c * sizeof *channels);
  for (int kernel = 0; kernel < 4; kernel++) {
    int8_t *const output = random_bytes((size_t)output_size(&layer));
    memset(output, layer.output_min, (size_t)output_size(&layer));
    switch (kernel) {
      case 0: lutra_conv2d_lut(&layer, codebook, indices, channels, input, output, scratch_of(&layer)); break;
      case 1: lutra_conv2d_decode(&layer, codebook, indices, channels, input, output); break;
      case 2: lutra_conv2d_dense(&layer, weights, channels, input, output); break;
      default:
        if (layer.in_c == layer.out_c) {
          layer.groups = layer.in_c;
          lutra_conv2d_depthwise(&layer, weights, channels, input, output);
        }
    }
    for (int i = 0; i < output_size(&layer); i++) {
      CHECK(layer.output_min <= output[i] && output[i] <= layer.output_max);
    }
  }
}

int main(void) {
  RUN(500, dense_follows_the_specification);
  RUN(500, dense_pools);
  RUN(300, dense_has_groups);
  check_lively();
  RUN(300, depthwise_follows_the_specification);
  RUN(300, depthwise_pools);
  check_lively();
  RUN(500, coded_follows_the_specification);
  RUN(500, coded_pools);
  RUN(1, coded_follows_the_specification_for_every_coding);
  RUN(20, all_positions_may_be_padding_but_one);
  check_lively();
  RUN(1, padding_is_the_zero_point);
  RUN(300, damaged_tables_do_no_harm);
  return 0;
}
