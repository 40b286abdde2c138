/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "harness.h"
#include "naive.h"
#include "random_tables.h"

static lutra_linear random_layer(int in_c, int out_c) {
  lutra_linear layer = {.in_c = (uint16_t)in_c, .out_c = (uint16_t)out_c};
  layer.output_zero_point = (int8_t)between(-40, 40);
  layer.output_min = (int8_t)between(-128, -100);
  layer.output_max = (int8_t)between(100, 127);
  return layer;
}

static const lutra_channel *add_channels(lutra_linear *layer, int64_t bound) {
  shifts chosen;
  const lutra_channel *const channels = random_channels(layer->out_c, bound, &chosen);
  layer->bias_shift = chosen.bias_shift;
  layer->acc_shift = chosen.acc_shift;
  layer->output_shift = chosen.output_shift;
  return channels;
}

static void check_against_naive(const lutra_linear *layer, const int8_t *weights, const lutra_channel *channels,
                                const int8_t *input, const int8_t *output) {
  int8_t *const expected = buffer(layer->out_c);
  naive_linear(layer, weights, channels, input, expected);
  check_outputs(output, expected, layer->out_c, layer->output_min, layer->output_max);
}

static void dense_follows_the_specification(void) {
  lutra_linear layer = random_layer(between(1, 70), between(1, 9));
  const int8_t *const weights = random_bytes((size_t)layer.in_c * layer.out_c), *const input = random_bytes(layer.in_c);
  const lutra_channel *const channels = add_channels(&layer, 128 * 32 * layer.in_c);
  int8_t *const output = random_bytes(layer.out_c);
  lutra_linear_dense(&layer, weights, channels, input, output);
  check_against_naive(&layer, weights, channels, input, output);
}

/* Both orders of the sum give the specified output. */
static void check_coded(int log2_codewords, int subvector, int index_bits, int in_c, int out_c) {
  lutra_linear layer = random_layer(in_c, out_c);
  layer.log2_codewords = (uint8_t)log2_codewords;
  layer.subvector = (uint8_t)subvector;
  layer.index_bits = (uint8_t)index_bits;
  const int codewords = 1 << log2_codewords, subvectors = (in_c + subvector - 1) / subvector;
  const int8_t *const codebook = random_codebook(codewords, subvector), *const input = random_bytes(layer.in_c);
  const uint8_t *const indices = random_indices(out_c * subvectors, codewords);
  const uint8_t *const packed = packed_indices(indices, out_c, 1, subvectors, index_bits);
  const int8_t *const weights = decoded_weights(indices, out_c, 1, in_c, codebook, subvector);
  const lutra_channel *const channels = add_channels(&layer, 16 * 255 * subvectors);
  int8_t *const output = random_bytes(layer.out_c);
  void *const scratch = buffer(LUTRA_LINEAR_LUT_SCRATCH_BYTES((size_t)out_c, (size_t)codewords));
  lutra_linear_lut(&layer, codebook, packed, channels, input, output, scratch);
  check_against_naive(&layer, weights, channels, input, output);
  int8_t *const decoded = random_bytes(layer.out_c);
  lutra_linear_decode(&layer, codebook, packed, channels, input, decoded);
  check_against_naive(&layer, weights, channels, input, decoded);
}

static void coded_follows_the_specification_for_every_coding(void) {
  for (int log2_codewords = 1; log2_codewords <= 8; log2_codewords++) {
    for (int subvector = 1; subvector <= 16; subvector++) {
      for (int index_bits = log2_codewords <= 4 ? 4 : 8; index_bits <= 8; index_bits += 4) {
        check_coded(log2_codewords, subvector, index_bits, between(1, 8 * subvector), between(1, 9));
        check_and_free_buffers();
      }
    }
  }
}

static void coded_follows_the_specification_for_every_number_of_subvectors(void) {
  for (int in_c = 1; in_c <= 40; in_c++) {
    check_coded(4, 3, 4, in_c, 5);
    check_coded(4, 3, 8, in_c, 5);
    check_and_free_buffers();
  }
}

/* 128 * 255 is the largest entry of a lookup table. */
static void codewords_and_inputs_may_be_extreme(void) {
  static const int8_t codebook[] = {-128, -127, 127, 127, -128, 127, 0, 0};
  int8_t *const input = buffer(8), *const output = buffer(3);
  static const uint8_t indices[] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2};
  static const lutra_channel channels[] = {{32767, 4095 + 4096 * 2}, {-32768, 4095 + 4096 * 2}, {0, 4095 + 4096 * 2}};
  const lutra_linear layer = {
      .in_c = 8, .out_c = 3, .output_min = -128, .output_max = 127, .bias_shift = 2, .output_shift = 15,
      .log2_codewords = 2, .subvector = 2, .index_bits = 8,
  };
  const int8_t *const weights = decoded_weights(indices, 3, 1, 8, codebook, 2);
  const uint8_t *const packed = packed_indices(indices, 3, 1, 4, 8);
  void *const scratch = buffer(LUTRA_LINEAR_LUT_SCRATCH_BYTES(3u, 4u));
  for (int value = -128; value <= 127; value += 255) {
    memset(input, value, 8);
    lutra_linear_lut(&layer, codebook, packed, channels, input, output, scratch);
    check_against_naive(&layer, weights, channels, input, output);
    memset(output, 0, 3);
    lutra_linear_decode(&layer, codebook, packed, channels, input, output);
    check_against_naive(&layer, weights, channels, input, output);
    memset(output, 0, 3);
    lutra_linear_dense(&layer, weights, channels, input, output);
    check_against_naive(&layer, weights, channels, input, output);
  }
}

/* output = 5 + round((4 * bias + input) / 2 * 3 / 2^(1 + additional shift)), by hand. */
static void requantization_rounds_half_up_and_clamps(void) {
  static const struct {
    int8_t input;
    lutra_channel channel;
    int8_t output;
  } cases[] = {
      {0, {0, 3}, 5},
      {2, {0, 3}, 7},               /* 1 * 3 / 2 = 1.5 */
      {-2, {0, 3}, 4},              /* -1 * 3 / 2 = -1.5 */
      {3, {0, 3}, 7},               /* 3 >> 1 = 1 */
      {-3, {0, 3}, 2},              /* -3 >> 1 = -2 */
      {2, {0, 3 + 4096}, 6},        /* 1 * 3 / 4 = 0.75 */
      {-2, {0, 2 + 4096}, 5},       /* -1 * 2 / 4 = -0.5 */
      {0, {6, 3}, 23},              /* 12 * 3 / 2 = 18 */
      {0, {-6, 3}, -13},            /* -12 * 3 / 2 = -18 */
      {127, {0, 3}, 90},            /* 63 * 3 / 2 = 94.5 -> 100 */
      {-128, {0, 3}, -80},          /* -64 * 3 / 2 = -96 -> -91 */
      {127, {32767, 4095}, 90},     /* 65597 * 4095 / 2 */
      {-128, {-32768, 4095}, -80},  /* -65600 * 4095 / 2 */
      {1, {32767, 0}, 5},
      {2, {0, 4095 + 4096 * 15}, 5}, /* 4095 / 65536 */
  };
  const lutra_linear layer = {
      .in_c = 1, .out_c = 1, .output_zero_point = 5, .output_min = -80, .output_max = 90,
      .bias_shift = 2, .acc_shift = 1, .output_shift = 1,
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    static const int8_t one = 1;
    int8_t output;
    lutra_linear_dense(&layer, &one, &cases[i].channel, &cases[i].input, &output);
    CHECK(output == cases[i].output);
  }
}

/* Shapes and shifts are right, all else is noise: no access outside a buffer, nothing undefined, outputs within the clamp. */
static void damaged_tables_do_no_harm(void) {
  lutra_linear layer = random_layer(between(1, 100), between(1, 20));
  layer.bias_shift = (uint8_t)between(0, 16);
  layer.acc_shift = (uint8_t)between(0, 16);
  layer.output_shift = (uint8_t)between(1, 15);
  layer.log2_codewords = (uint8_t)between(1, 8);
  layer.subvector = (uint8_t)between(1, 16);
  layer.index_bits = layer.log2_codewords <= 4 && between(0, 1) ? 4 : 8;
  const int codewords = 1 << layer.log2_codewords, subvectors = (layer.in_c + layer.subvector - 1) / layer.subvector;
  const int row_bytes = layer.index_bits == 8 ? subvectors : (subvectors + 1) / 2;
  const int8_t *const codebook = random_bytes((size_t)(codewords * layer.subvector)), *const input = random_bytes(layer.in_c);
  const uint8_t *const indices = (const uint8_t *)random_bytes((size_t)(row_bytes * layer.out_c));
  const int8_t *const weights = random_bytes((size_t)layer.in_c * layer.out_c);
  const lutra_channel *const channels = buffer(layer.out_c * sizeof *channels);
  int8_t *const output = random_bytes(3u * layer.out_c);
  void *const scratch = buffer(LUTRA_LINEAR_LUT_SCRATCH_BYTES((size_t)layer.out_c, (size_t)codewords));
  lutra_linear_lut(&layer, codebook, indices, channels, input, output, scratch);
  lutra_linear_decode(&layer, codebook, indices, channels, input, output + layer.out_c);
  lutra_linear_dense(&layer, weights, channels, input, output + 2 * layer.out_c);
  for (int i = 0; i < 3 * layer.out_c; i++) {
    CHECK(layer.output_min <= output[i] && output[i] <= layer.output_max);
  }
}

int main(void) {
  RUN(300, dense_follows_the_specification);
  check_lively();
  RUN(3, coded_follows_the_specification_for_every_coding);
  check_lively();
  RUN(1, coded_follows_the_specification_for_every_number_of_subvectors);
  check_lively();
  RUN(1, codewords_and_inputs_may_be_extreme);
  RUN(1, requantization_rounds_half_up_and_clamps);
  RUN(300, damaged_tables_do_no_harm);
  return 0;
}
