/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "harness.h"
#include "naive.h"
#include "random_tables.h"

enum { PLAIN = 1, POOLED = 3 };

static int taps(const lutra_conv2d *layer) { return layer->kernel_h * layer->kernel_w; }

static int input_size(const lutra_conv2d *layer) { return layer->in_h * layer->in_w * layer->in_c; }

static int output_size(const lutra_conv2d *layer) {
  return layer->out_h / layer->pool_h * (layer->out_w / layer->pool_w) * layer->out_c;
}

static int subvectors(const lutra_conv2d *layer) { return (layer->in_c + layer->subvector - 1) / layer->subvector; }

static int leaves_image(const lutra_conv2d *layer) {
  return layer->pad_top > 0 || layer->pad_left > 0 ||
         (layer->out_h - 1) * layer->stride_h + layer->kernel_h - layer->pad_top > layer->in_h ||
         (layer->out_w - 1) * layer->stride_w + layer->kernel_w - layer->pad_left > layer->in_w;
}

/* Any kernel, stride and padding with at least one pooling window; images may be smaller than kernels. */
static lutra_conv2d random_layer(int in_c, int out_c, int largest_pool) {
  lutra_conv2d layer = {.in_c = (uint16_t)in_c, .out_c = (uint16_t)out_c, .groups = 1};
  layer.kernel_h = (uint8_t)between(1, 5);
  layer.kernel_w = (uint8_t)between(1, 5);
  layer.stride_h = (uint8_t)between(1, 3);
  layer.stride_w = (uint8_t)between(1, 3);
  layer.pool_h = (uint8_t)between(1, largest_pool);
  layer.pool_w = (uint8_t)between(1, largest_pool);
  for (;;) {
    layer.in_h = (uint16_t)between(1, 9);
    layer.in_w = (uint16_t)between(1, 11);
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
  layer.input_zero_point = (int8_t)(between(0, 3) ? between(-128, 127) : 0);
  layer.padded = leaves_image(&layer) && layer.input_zero_point != 0;
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

static void *lut_scratch(const lutra_conv2d *layer) {
  const size_t kernel_h = layer->kernel_h, codewords = (size_t)1 << layer->log2_codewords;
  return buffer(LUTRA_CONV2D_LUT_SCRATCH_BYTES(kernel_h, layer->kernel_w, layer->stride_h, layer->out_h, layer->out_w,
                                               (size_t)layer->out_c, codewords, (size_t)subvectors(layer), layer->block,
                                               layer->keep_offsets, layer->padded));
}

static uint32_t is_flat(const lutra_conv2d *layer) {
  return LUTRA_CONV2D_LUT8_FLAT(layer->kernel_h, layer->kernel_w, layer->stride_h, layer->stride_w, layer->pool_h, layer->pool_w,
                                layer->in_h, layer->in_w, layer->out_h, layer->out_w);
}

static int within_reach8(const lutra_conv2d *layer) {
  const uint32_t kernel_w = layer->kernel_w, stride_w = layer->stride_w, pad_left = layer->pad_left, in_w = layer->in_w;
  return LUTRA_CONV2D_LUT8_REACH_BYTES(is_flat(layer), kernel_w, stride_w, pad_left, in_w, layer->out_w, 1u << layer->log2_codewords,
                                       (uint32_t)subvectors(layer)) <= 65536u;
}

static void *lut8_scratch(const lutra_conv2d *layer) {
  const size_t kernel_h = layer->kernel_h, codewords = (size_t)1 << layer->log2_codewords, stride_h = layer->stride_h;
  const size_t kernel_w = layer->kernel_w, stride_w = layer->stride_w, pad_left = layer->pad_left;
  return buffer(LUTRA_CONV2D_LUT8_SCRATCH_BYTES(is_flat(layer), kernel_h, kernel_w, stride_h, stride_w, pad_left,
                                                (size_t)layer->in_w, (size_t)layer->out_h, (size_t)layer->out_w,
                                                (size_t)layer->out_c, codewords, (size_t)subvectors(layer),
                                                (size_t)layer->subvector, (size_t)layer->block, layer->keep_offsets,
                                                layer->padded));
}

static void *decode_scratch(const lutra_conv2d *layer) {
  return buffer(LUTRA_CONV2D_DECODE_SCRATCH_BYTES((size_t)taps(layer) * layer->in_c, (size_t)layer->block));
}

static void *dense_scratch(const lutra_conv2d *layer) {
  const size_t in_group = (size_t)(layer->in_c / layer->groups), out_group = (size_t)(layer->out_c / layer->groups);
  return buffer(LUTRA_CONV2D_DENSE_SCRATCH_BYTES((size_t)taps(layer) * in_group, out_group));
}

static void *depthwise_scratch(const lutra_conv2d *layer) {
  return buffer(LUTRA_CONV2D_DEPTHWISE_SCRATCH_BYTES(layer->kernel_h, layer->kernel_w, layer->out_c));
}

static int8_t *expected_output(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels,
                               const int8_t *input) {
  int8_t *const expected = buffer((size_t)output_size(layer));
  naive_conv2d(layer, weights, channels, input, expected);
  return expected;
}

static void check(const lutra_conv2d *layer, const int8_t *output, const int8_t *expected) {
  check_outputs(output, expected, output_size(layer), layer->output_min, layer->output_max);
}

static void check_dense(lutra_conv2d layer, const int8_t *input, const int8_t *weights, int64_t bound) {
  const lutra_channel *const channels = add_channels(&layer, bound * taps(&layer) * (layer.in_c / layer.groups));
  int8_t *const output = random_bytes((size_t)output_size(&layer));
  lutra_conv2d_dense(&layer, weights, channels, input, output, dense_scratch(&layer));
  check(&layer, output, expected_output(&layer, weights, channels, input));
}

static void check_random_dense(lutra_conv2d layer) {
  const int in_group = layer.in_c / layer.groups;
  check_dense(layer, random_bytes((size_t)input_size(&layer)), random_bytes((size_t)(layer.out_c * taps(&layer) * in_group)),
              128 * 32);
}

static void dense_follows_the_specification(void) { check_random_dense(random_layer(between(1, 20), between(1, 9), PLAIN)); }

static void dense_pools(void) { check_random_dense(random_layer(between(1, 20), between(1, 9), POOLED)); }

static void dense_has_groups(void) {
  const int groups = between(2, 4);
  lutra_conv2d layer = random_layer(groups * between(1, 3), groups * between(1, 3), POOLED);
  layer.groups = (uint16_t)groups;
  check_random_dense(layer);
}

static void dense_may_be_extreme(void) {
  const lutra_conv2d layer = random_layer(between(1, 20), between(1, 9), POOLED);
  check_dense(layer, extreme_input(input_size(&layer)), extreme_input(layer.out_c * taps(&layer) * layer.in_c), 128 * 128);
}

static void check_depthwise(lutra_conv2d layer, const int8_t *input, const int8_t *weights, int64_t bound) {
  layer.groups = layer.in_c;
  int8_t *const rows = buffer((size_t)(layer.in_c * taps(&layer))); /* [channel][tap] */
  for (int i = 0; i < layer.in_c * taps(&layer); i++) {
    rows[i % layer.in_c * taps(&layer) + i / layer.in_c] = weights[i];
  }
  const lutra_channel *const channels = add_channels(&layer, bound * taps(&layer));
  int8_t *const output = random_bytes((size_t)output_size(&layer));
  lutra_conv2d_depthwise(&layer, weights, channels, input, output, depthwise_scratch(&layer));
  check(&layer, output, expected_output(&layer, rows, channels, input));
}

static void check_random_depthwise(lutra_conv2d layer) {
  check_depthwise(layer, random_bytes((size_t)input_size(&layer)), random_bytes((size_t)(taps(&layer) * layer.in_c)), 128 * 32);
}

static void depthwise_follows_the_specification(void) {
  const int channels = between(1, 40);
  check_random_depthwise(random_layer(channels, channels, PLAIN));
}

static void depthwise_pools(void) {
  const int channels = between(1, 20);
  check_random_depthwise(random_layer(channels, channels, POOLED));
}

static void depthwise_may_be_extreme(void) {
  const int channels = between(1, 20);
  const lutra_conv2d layer = random_layer(channels, channels, POOLED);
  check_depthwise(layer, extreme_input(input_size(&layer)), extreme_input(taps(&layer) * channels), 128 * 128);
}

typedef struct {
  const int8_t *codebook, *input, *expected;
  const uint8_t *indices; /* packed */
  const lutra_channel *channels;
} coded;

/* Everything but block, padded, keep_offsets and packed_sums. `entry`: a bound of what a table entry usually is. */
static coded random_coded(lutra_conv2d *layer, const int8_t *codebook, const int8_t *input, int64_t entry) {
  const int codewords = 1 << layer->log2_codewords, count = subvectors(layer);
  const uint8_t *const indices = random_indices(layer->out_c * taps(layer) * count, codewords);
  const int8_t *const weights = decoded_weights(indices, layer->out_c, taps(layer), layer->in_c, codebook, layer->subvector);
  coded tables = {.codebook = codebook, .input = input};
  tables.indices = packed_indices(indices, layer->out_c, taps(layer), count, layer->index_bits);
  tables.channels = add_channels(layer, entry * count * taps(layer));
  tables.expected = expected_output(layer, weights, tables.channels, input);
  return tables;
}

static void check_lut(const lutra_conv2d *layer, const coded *tables) {
  int8_t *const output = random_bytes((size_t)output_size(layer)), *const output8 = random_bytes((size_t)output_size(layer));
  lutra_conv2d_lut(layer, tables->codebook, tables->indices, tables->channels, tables->input, output, lut_scratch(layer));
  check(layer, output, tables->expected);
  if (within_reach8(layer)) {
    lutra_conv2d_lut8(layer, tables->codebook, tables->indices, tables->channels, tables->input, output8, lut8_scratch(layer));
    check(layer, output8, tables->expected);
  }
}

static void check_decode(const lutra_conv2d *layer, const coded *tables) {
  int8_t *const output = random_bytes((size_t)output_size(layer));
  lutra_conv2d_decode(layer, tables->codebook, tables->indices, tables->channels, tables->input, output, decode_scratch(layer));
  check(layer, output, tables->expected);
}

/* Blocks of whole groups of indices, or of all subvectors. */
static uint16_t random_block(const lutra_conv2d *layer) {
  const int count = subvectors(layer), groups = between(1, (count + 7) / 8);
  return (uint16_t)(8 * groups < count ? 8 * groups : count);
}

/* Both orders of the sum give the specified output, with any settings. */
static void check_coded(lutra_conv2d layer, const coded *tables, int packed_sums) {
  const int all = subvectors(&layer), padded = layer.padded;
  for (int settings = 0; settings < 4; settings++) {
    layer.padded = (uint8_t)(padded | (settings & 1));
    layer.keep_offsets = (uint8_t)(settings / 2);
    layer.packed_sums = (uint8_t)packed_sums;
    layer.block = settings == 0 ? (uint16_t)all : random_block(&layer);
    check_lut(&layer, tables);
  }
  layer.padded = (uint8_t)padded;
  layer.block = (uint16_t)between(1, layer.out_c);
  check_decode(&layer, tables);
}

static void check_random_coded(lutra_conv2d layer, int log2_codewords, int subvector, int index_bits) {
  layer.log2_codewords = (uint8_t)log2_codewords;
  layer.subvector = (uint8_t)subvector;
  layer.index_bits = (uint8_t)index_bits;
  const int packed_sums = between(0, 1), l1 = packed_sums ? L1_PACKED : L1;
  const int8_t *const codebook = random_codebook(1 << log2_codewords, subvector, l1);
  const coded tables = random_coded(&layer, codebook, random_bytes((size_t)input_size(&layer)), 16 * l1);
  check_coded(layer, &tables, packed_sums);
}

static void coded_follows_the_specification(void) {
  check_random_coded(random_layer(between(1, 20), between(1, 9), PLAIN), 4, 3, between(0, 1) ? 4 : 8);
}

static void coded_pools(void) {
  check_random_coded(random_layer(between(1, 20), between(1, 9), POOLED), 4, 3, between(0, 1) ? 4 : 8);
}

static void coded_has_many_subvectors(void) {
  check_random_coded(random_layer(between(1, 70), between(1, 9), POOLED), between(1, 4), between(1, 2), between(0, 1) ? 4 : 8);
}

/* Of 64 tables of 256 entries. */
static void offsets_may_fill_16_bits(void) { check_random_coded(random_layer(64, between(1, 3), PLAIN), 8, 1, 8); }

static void coded_follows_the_specification_for_every_coding(void) {
  for (int log2_codewords = 1; log2_codewords <= 8; log2_codewords++) {
    for (int subvector = 1; subvector <= 16; subvector++) {
      for (int index_bits = log2_codewords <= 4 ? 4 : 8; index_bits <= 8; index_bits += 4) {
        check_random_coded(random_layer(between(1, 6 * subvector), between(1, 5), POOLED), log2_codewords, subvector, index_bits);
        check_and_free_buffers();
      }
    }
  }
}

static void coded_may_be_extreme(void) {
  lutra_conv2d layer = random_layer(between(1, 40), between(1, 9), POOLED);
  layer.log2_codewords = (uint8_t)between(1, 6);
  layer.subvector = (uint8_t)between(1, 16);
  layer.index_bits = 8;
  layer.input_zero_point = between(0, 1) ? -128 : 127;
  layer.padded = (uint8_t)leaves_image(&layer);
  const int packed_sums = between(0, 1), l1 = packed_sums ? L1_PACKED : L1;
  const int8_t *const codebook = extreme_codebook(1 << layer.log2_codewords, layer.subvector, l1);
  const coded tables = random_coded(&layer, codebook, extreme_input(input_size(&layer)), 128 * l1);
  check_coded(layer, &tables, packed_sums);
}

/* How far before its input the output begins at least, so that it only covers rows that no later output row reads. */
static int lead(const lutra_conv2d *layer) {
  const int in_row = layer->in_w * layer->in_c, out_row = layer->out_w / layer->pool_w * layer->out_c;
  int most = 0;
  for (int i = 0; i < layer->out_h / layer->pool_h; i++) {
    const int read = i * layer->pool_h * layer->stride_h + layer->kernel_h - layer->pad_top; /* when row i is begun */
    const int needed = read < layer->in_h ? (i + 1) * out_row - (read > 0 ? read : 0) * in_row : 0;
    most = needed > most ? needed : most;
  }
  return most;
}

/* The same for lutra_conv2d_lut8, which may take the image for one row: sixteen pixels are read, then written. */
static int lead8(const lutra_conv2d *layer) {
  const int later = (layer->in_h * layer->in_w - 1) / 16 * 16 * (layer->out_c - layer->in_c);
  return !is_flat(layer) ? lead(layer) : later > 0 ? later : 0;
}

/* The output in the input's memory, `before` it. */
static int8_t *place_before(const lutra_conv2d *layer, const int8_t *input, int before) {
  const int both = before + input_size(layer), size = output_size(layer);
  int8_t *const output = random_bytes((size_t)(both > size ? both : size));
  memcpy(output + before, input, (size_t)input_size(layer));
  return output;
}

static void check_over_input(lutra_conv2d layer) {
  layer.log2_codewords = 4;
  layer.subvector = (uint8_t)between(1, 4);
  layer.index_bits = between(0, 1) ? 4 : 8;
  layer.keep_offsets = (uint8_t)between(0, 1);
  layer.block = random_block(&layer);
  const int8_t *const codebook = random_codebook(16, layer.subvector, L1);
  const coded tables = random_coded(&layer, codebook, random_bytes((size_t)input_size(&layer)), 16 * L1);
  const int more = between(0, 3) * between(0, 1), before = lead(&layer) + more, before8 = lead8(&layer) + more;
  int8_t *const output = place_before(&layer, tables.input, before), *const output8 = place_before(&layer, tables.input, before8);
  lutra_conv2d_lut(&layer, codebook, tables.indices, tables.channels, output + before, output, lut_scratch(&layer));
  check(&layer, output, tables.expected);
  lutra_conv2d_lut8(&layer, codebook, tables.indices, tables.channels, output8 + before8, output8, lut8_scratch(&layer));
  check(&layer, output8, tables.expected);
}

static void lut_may_write_over_dead_input_rows(void) { check_over_input(random_layer(between(1, 40), between(1, 9), POOLED)); }

/* A layer of 1 x 1 kernels, stride 1: every pixel by itself. */
static lutra_conv2d pixelwise_layer(void) {
  lutra_conv2d layer = random_layer(between(1, 40), between(1, 20), PLAIN);
  layer.kernel_h = layer.kernel_w = layer.stride_h = layer.stride_w = 1;
  layer.pad_top = layer.pad_left = layer.padded = 0;
  layer.out_h = layer.in_h;
  layer.out_w = layer.in_w;
  return layer;
}

static void coded_has_pixelwise_layers(void) { check_random_coded(pixelwise_layer(), between(1, 8), between(1, 16), 8); }

static void lut_of_pixels_may_write_over_dead_input(void) { check_over_input(pixelwise_layer()); }

static void pools_may_be_large(void) {
  lutra_conv2d layer = random_layer(between(1, 3), between(1, 3), PLAIN);
  layer.pool_h = (uint8_t)between(1, 9);
  layer.pool_w = (uint8_t)between(1, 9);
  layer.out_h = (uint16_t)(layer.pool_h + between(0, 9));
  layer.out_w = (uint16_t)(layer.pool_w + between(0, 9));
  layer.in_h = (uint16_t)((layer.out_h - 1) * layer.stride_h + layer.kernel_h); /* room enough without its padding */
  layer.in_w = (uint16_t)((layer.out_w - 1) * layer.stride_w + layer.kernel_w);
  layer.padded = leaves_image(&layer) && layer.input_zero_point != 0;
  check_random_dense(layer);
  check_random_coded(layer, between(1, 4), between(1, 4), between(0, 1) ? 4 : 8);
}

/* Wider than eight pixels, with every way to pad. */
static void coded_may_be_wide(void) {
  lutra_conv2d layer = random_layer(between(1, 9), between(1, 5), POOLED);
  layer.in_w = (uint16_t)between(layer.kernel_w + layer.pool_w * layer.stride_w, 40);
  layer.out_w = (uint16_t)((layer.in_w + layer.pad_left + between(0, layer.kernel_w - 1) - layer.kernel_w) / layer.stride_w + 1);
  layer.padded = leaves_image(&layer) && layer.input_zero_point != 0;
  check_random_coded(layer, between(1, 4), between(1, 4), between(0, 1) ? 4 : 8);
}

static void all_positions_may_be_padding_but_one(void) {
  lutra_conv2d layer = random_layer(5, 3, PLAIN);
  layer.in_h = layer.in_w = 1;
  layer.kernel_h = layer.kernel_w = 3;
  layer.stride_h = layer.stride_w = 1;
  layer.pad_top = layer.pad_left = 2;
  layer.out_h = layer.out_w = 3;
  layer.padded = 1;
  check_random_dense(layer);
  check_random_coded(layer, 3, 2, 8);
  layer.out_c = layer.in_c;
  check_random_depthwise(layer);
}

/* A 1 x 3 image of one channel, kernel (1, 2, 4), zero point 1 at both ends, outputs as they are: by hand. */
static void padding_is_the_zero_point(void) {
  static const int8_t weights[] = {1, 2, 4}, image[] = {10, 20, -30};
  static const uint8_t indices[] = {0x00, 0x01, 0x02};
  static const lutra_channel LUTRA_ALIGNED channel = {3, 2};
  lutra_conv2d layer = {
      .in_h = 1, .in_w = 3, .in_c = 1, .out_h = 1, .out_w = 3, .out_c = 1, .groups = 1, .block = 1, .kernel_h = 1, .kernel_w = 3,
      .stride_h = 1, .stride_w = 1, .pad_left = 1, .pool_h = 1, .pool_w = 1, .input_zero_point = 1, .output_min = -128,
      .output_max = 127, .output_shift = 1, .log2_codewords = 2, .subvector = 1, .index_bits = 8, .padded = 1,
  };
  static const int8_t expected[] = {3 + 1 + 20 + 80, 3 + 10 + 40 - 120, 3 + 20 - 60 + 4};
  const int8_t codebook[] = {1, 2, 4, 0};
  int8_t outputs[5][3];
  lutra_conv2d_dense(&layer, weights, &channel, image, outputs[0], dense_scratch(&layer));
  lutra_conv2d_depthwise(&layer, weights, &channel, image, outputs[1], depthwise_scratch(&layer));
  lutra_conv2d_decode(&layer, codebook, indices, &channel, image, outputs[2], decode_scratch(&layer));
  lutra_conv2d_lut(&layer, codebook, indices, &channel, image, outputs[3], lut_scratch(&layer));
  lutra_conv2d_lut8(&layer, codebook, indices, &channel, image, outputs[4], lut8_scratch(&layer));
  for (int kernel = 0; kernel < 5; kernel++) {
    CHECK(memcmp(outputs[kernel], expected, 3) == 0);
  }
}

/* Shapes, settings and shifts are right, all else is noise: no access outside a buffer, nothing undefined, outputs within the
 * clamp. */
static void damaged_tables_do_no_harm(void) {
  const int in_c = between(1, 40);
  lutra_conv2d layer = random_layer(in_c, between(0, 1) ? in_c : between(1, 20), POOLED);
  layer.bias_shift = (uint8_t)between(0, 16);
  layer.acc_shift = (uint8_t)between(0, 16);
  layer.output_shift = (uint8_t)between(1, 15);
  layer.log2_codewords = (uint8_t)between(1, 8);
  layer.subvector = (uint8_t)between(1, 16);
  layer.index_bits = layer.log2_codewords <= 4 && between(0, 1) ? 4 : 8;
  layer.keep_offsets = (uint8_t)between(0, 1);
  layer.packed_sums = (uint8_t)between(0, 1);
  const int row_bytes = layer.index_bits == 8 ? subvectors(&layer) : (subvectors(&layer) + 1) / 2;
  const int8_t *const codebook = random_bytes((size_t)layer.subvector << layer.log2_codewords);
  const int8_t *const input = random_bytes((size_t)input_size(&layer));
  const uint8_t *const indices = (const uint8_t *)random_bytes((size_t)(taps(&layer) * layer.out_c * row_bytes));
  const int8_t *const weights = random_bytes((size_t)(layer.out_c * taps(&layer) * layer.in_c));
  const lutra_channel *const channels = buffer(layer.out_c * sizeof *channels);
  for (int kernel = 0; kernel < 5; kernel++) {
    int8_t *const output = random_bytes((size_t)output_size(&layer));
    memset(output, layer.output_min, (size_t)output_size(&layer));
    switch (kernel) {
      case 0:
        layer.block = random_block(&layer);
        lutra_conv2d_lut(&layer, codebook, indices, channels, input, output, lut_scratch(&layer));
        break;
      case 1:
        layer.block = (uint16_t)between(1, layer.out_c);
        lutra_conv2d_decode(&layer, codebook, indices, channels, input, output, decode_scratch(&layer));
        break;
      case 2: lutra_conv2d_dense(&layer, weights, channels, input, output, dense_scratch(&layer)); break;
      case 3:
        layer.block = random_block(&layer);
        if (within_reach8(&layer)) {
          lutra_conv2d_lut8(&layer, codebook, indices, channels, input, output, lut8_scratch(&layer));
        }
        break;
      default:
        if (layer.in_c == layer.out_c) {
          layer.groups = layer.in_c;
          lutra_conv2d_depthwise(&layer, weights, channels, input, output, depthwise_scratch(&layer));
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
  RUN(100, dense_may_be_extreme);
  RUN(500, depthwise_follows_the_specification);
  RUN(300, depthwise_pools);
  check_lively();
  RUN(100, depthwise_may_be_extreme);
  RUN(500, coded_follows_the_specification);
  RUN(500, coded_pools);
  RUN(300, coded_has_many_subvectors);
  RUN(10, offsets_may_fill_16_bits);
  RUN(1, coded_follows_the_specification_for_every_coding);
  RUN(200, coded_has_pixelwise_layers);
  RUN(200, coded_may_be_wide);
  RUN(200, pools_may_be_large);
  RUN(300, lut_may_write_over_dead_input_rows);
  RUN(100, lut_of_pixels_may_write_over_dead_input);
  RUN(20, all_positions_may_be_padding_but_one);
  check_lively();
  RUN(200, coded_may_be_extreme);
  RUN(1, padding_is_the_zero_point);
  RUN(300, damaged_tables_do_no_harm);
  return 0;
}
