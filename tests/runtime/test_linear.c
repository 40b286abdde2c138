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

static void check_dense(const int8_t *weights, const int8_t *input, lutra_linear layer, int64_t bound) {
  const lutra_channel *const channels = add_channels(&layer, bound * layer.in_c);
  int8_t *const output = random_bytes(layer.out_c);
  lutra_linear_dense(&layer, weights, channels, input, output);
  check_against_naive(&layer, weights, channels, input, output);
}

static void dense_follows_the_specification(void) {
  const lutra_linear layer = random_layer(between(1, 70), between(1, 30));
  check_dense(random_bytes((size_t)layer.in_c * layer.out_c), random_bytes(layer.in_c), layer, 128 * 32);
}

static void dense_may_be_extreme(void) {
  const lutra_linear layer = random_layer(between(1, 300), between(1, 9));
  check_dense(extreme_input(layer.in_c * layer.out_c), extreme_input(layer.in_c), layer, 128 * 128);
}

static void *lut_scratch(const lutra_linear *layer) {
  const size_t codewords = (size_t)1 << layer->log2_codewords;
  return buffer(LUTRA_LINEAR_LUT_SCRATCH_BYTES((size_t)layer->out_c, codewords, layer->index_bits));
}

static void *decode_scratch(const lutra_linear *layer) { return buffer(LUTRA_LINEAR_DECODE_SCRATCH_BYTES((size_t)layer->in_c)); }

static void *pairs_scratch(const lutra_linear *layer) { return buffer(LUTRA_LINEAR_PAIRS_SCRATCH_BYTES((size_t)layer->out_c)); }

/* All orders of the sum give the specified output. `entry`: a bound of what a table entry usually is. */
static void check_coded(lutra_linear layer, const int8_t *codebook, const int8_t *input, int64_t entry, int pairs) {
  const int codewords = 1 << layer.log2_codewords, subvectors = (layer.in_c + layer.subvector - 1) / layer.subvector;
  const uint8_t *const indices = random_indices(layer.out_c * subvectors, codewords);
  const uint8_t *const packed = packed_indices(indices, layer.out_c, 1, subvectors, layer.index_bits);
  const int8_t *const weights = decoded_weights(indices, layer.out_c, 1, layer.in_c, codebook, layer.subvector);
  const lutra_channel *const channels = add_channels(&layer, entry * subvectors);
  int8_t *const output = random_bytes(layer.out_c), *const decoded = random_bytes(layer.out_c);
  lutra_linear_lut(&layer, codebook, packed, channels, input, output, lut_scratch(&layer));
  check_against_naive(&layer, weights, channels, input, output);
  lutra_linear_decode(&layer, codebook, packed, channels, input, decoded, decode_scratch(&layer));
  check_against_naive(&layer, weights, channels, input, decoded);
  if (pairs) {
    int8_t *const paired = random_bytes(layer.out_c);
    lutra_linear_pairs(&layer, codebook, packed, channels, input, paired, pairs_scratch(&layer));
    check_against_naive(&layer, weights, channels, input, paired);
  }
}

static void check_random_coded(int log2_codewords, int subvector, int index_bits, int in_c, int out_c) {
  lutra_linear layer = random_layer(in_c, out_c);
  layer.log2_codewords = (uint8_t)log2_codewords;
  layer.subvector = (uint8_t)subvector;
  layer.index_bits = (uint8_t)index_bits;
  const int pairs = log2_codewords == 4 && index_bits == 4, limit = pairs ? L1_PAIRS : L1;
  check_coded(layer, random_codebook(1 << log2_codewords, subvector, limit), random_bytes(layer.in_c), 16 * limit, pairs);
}

static void coded_follows_the_specification_for_every_coding(void) {
  for (int log2_codewords = 1; log2_codewords <= 8; log2_codewords++) {
    for (int subvector = 1; subvector <= 16; subvector++) {
      for (int index_bits = log2_codewords <= 4 ? 4 : 8; index_bits <= 8; index_bits += 4) {
        check_random_coded(log2_codewords, subvector, index_bits, between(1, 20 * subvector), between(1, 9));
        check_and_free_buffers();
      }
    }
  }
}

static void coded_follows_the_specification_for_every_number_of_subvectors(void) {
  for (int in_c = 1; in_c <= 80; in_c++) {
    check_random_coded(4, 3, 4, in_c, 5);
    check_and_free_buffers();
    check_random_coded(4, 3, 8, in_c, 5);
    check_and_free_buffers();
  }
}

static void coded_may_be_extreme(void) {
  lutra_linear layer = random_layer(between(1, 300), between(1, 9));
  const int pairs = between(0, 1), limit = pairs ? L1_PAIRS : L1;
  layer.log2_codewords = (uint8_t)(pairs ? 4 : between(1, 8));
  layer.index_bits = pairs ? 4 : 8;
  layer.subvector = (uint8_t)between(1, 16);
  const int8_t *const codebook = extreme_codebook(1 << layer.log2_codewords, layer.subvector, limit);
  check_coded(layer, codebook, extreme_input(layer.in_c), 128 * limit, pairs);
}

/* The largest entry of a lookup table. */
static void a_table_entry_may_be_128_times_255(void) {
  static const int8_t codebook[] = {-128, -127, 127, 127, -128, 127, 0, 0};
  int8_t *const input = buffer(8), *const output = buffer(3);
  static const uint8_t indices[] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2};
  static const lutra_channel LUTRA_ALIGNED channels[] = {{32767, 4095 + 4096 * 2}, {-32768, 4095 + 4096 * 2}, {0, 4095 + 4096 * 2}};
  const lutra_linear layer = {
      .in_c = 8, .out_c = 3, .output_min = -128, .output_max = 127, .bias_shift = 2, .output_shift = 15,
      .log2_codewords = 2, .subvector = 2, .index_bits = 8,
  };
  const int8_t *const weights = decoded_weights(indices, 3, 1, 8, codebook, 2);
  const uint8_t *const packed = packed_indices(indices, 3, 1, 4, 8);
  void *const scratch = lut_scratch(&layer), *const weights_of_rows = decode_scratch(&layer);
  for (int value = -128; value <= 127; value += 255) {
    memset(input, value, 8);
    lutra_linear_lut(&layer, codebook, packed, channels, input, output, scratch);
    check_against_naive(&layer, weights, channels, input, output);
    memset(output, 0, 3);
    lutra_linear_decode(&layer, codebook, packed, channels, input, output, weights_of_rows);
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
    const lutra_channel LUTRA_ALIGNED channel = cases[i].channel;
    int8_t output;
    lutra_linear_dense(&layer, &one, &channel, &cases[i].input, &output);
    CHECK(output == cases[i].output);
  }
}

/* Shapes and shifts are right, all else is noise: no access outside a buffer, nothing undefined, outputs within the clamp. */
static void damaged_tables_do_no_harm(void) {
  lutra_linear layer = random_layer(between(1, 100), between(1, 20));
  layer.bias_shift = (uint8_t)between(0, 16);
  layer.acc_shift = (uint8_t)between(0, 16);
  layer.output_shift = (uint8_t)between(1, 15);
  layer.log2_codewords = (uint8_t)(between(0, 3) ? between(1, 8) : 4);
  layer.subvector = (uint8_t)between(1, 16);
  layer.index_bits = layer.log2_codewords <= 4 && between(0, 1) ? 4 : 8;
  const int codewords = 1 << layer.log2_codewords, subvectors = (layer.in_c + layer.subvector - 1) / layer.subvector;
  const int row_bytes = layer.index_bits == 8 ? subvectors : (subvectors + 1) / 2;
  const int8_t *const codebook = random_bytes((size_t)(codewords * layer.subvector)), *const input = random_bytes(layer.in_c);
  const uint8_t *const indices = (const uint8_t *)random_bytes((size_t)(row_bytes * layer.out_c));
  const int8_t *const weights = random_bytes((size_t)layer.in_c * layer.out_c);
  const lutra_channel *const channels = buffer(layer.out_c * sizeof *channels);
  const int pairs = layer.log2_codewords == 4 && layer.index_bits == 4, kernels = 3 + pairs;
  int8_t *const output = random_bytes((size_t)kernels * layer.out_c);
  lutra_linear_lut(&layer, codebook, indices, channels, input, output, lut_scratch(&layer));
  lutra_linear_decode(&layer, codebook, indices, channels, input, output + layer.out_c, decode_scratch(&layer));
  lutra_linear_dense(&layer, weights, channels, input, output + 2 * layer.out_c);
  if (pairs) {
    lutra_linear_pairs(&layer, codebook, indices, channels, input, output + 3 * layer.out_c, pairs_scratch(&layer));
  }
  for (int i = 0; i < kernels * layer.out_c; i++) {
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
  RUN(200, dense_may_be_extreme);
  RUN(300, coded_may_be_extreme);
  RUN(1, a_table_entry_may_be_128_times_255);
  RUN(1, requantization_rounds_half_up_and_clamps);
  RUN(300, damaged_tables_do_no_harm);
  return 0;
}
