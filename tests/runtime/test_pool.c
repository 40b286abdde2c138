/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"
#include "naive.h"
#include "random_tables.h"

/* Padding is smaller than the kernel, so each window holds at least one position of the image. */
static lutra_pool random_layer(void) {
  lutra_pool layer = {.in_c = (uint16_t)between(1, 20)};
  layer.kernel_h = (uint8_t)between(1, 4);
  layer.kernel_w = (uint8_t)between(1, 4);
  layer.stride_h = (uint8_t)between(1, 3);
  layer.stride_w = (uint8_t)between(1, 3);
  layer.pad_top = (uint8_t)between(0, layer.kernel_h - 1);
  layer.pad_left = (uint8_t)between(0, layer.kernel_w - 1);
  layer.in_h = (uint16_t)between(layer.kernel_h, 8);
  layer.in_w = (uint16_t)between(layer.kernel_w, 8);
  const int pad_bottom = between(0, layer.kernel_h - 1), pad_right = between(0, layer.kernel_w - 1);
  layer.out_h = (uint16_t)((layer.in_h + layer.pad_top + pad_bottom - layer.kernel_h) / layer.stride_h + 1);
  layer.out_w = (uint16_t)((layer.in_w + layer.pad_left + pad_right - layer.kernel_w) / layer.stride_w + 1);
  layer.input_zero_point = (int8_t)between(-20, 20);
  layer.output_zero_point = (int8_t)between(-20, 20);
  layer.output_min = (int8_t)between(-128, -100);
  layer.output_max = (int8_t)between(100, 127);
  layer.count_include_pad = (uint8_t)between(0, 1);
  return layer;
}

static int output_size(const lutra_pool *layer) { return layer->out_h * layer->out_w * layer->in_c; }

static const int8_t *random_image(const lutra_pool *layer) {
  return random_bytes((size_t)(layer->in_h * layer->in_w * layer->in_c));
}

/* The values of a window inside the image; returns their number. */
static int window_values(const lutra_pool *layer, const int8_t *input, int i, int j, int c, int8_t values[16]) {
  int count = 0;
  for (int ky = 0; ky < layer->kernel_h; ky++) {
    for (int kx = 0; kx < layer->kernel_w; kx++) {
      const int y = i * layer->stride_h + ky - layer->pad_top, x = j * layer->stride_w + kx - layer->pad_left;
      if (0 <= y && y < layer->in_h && 0 <= x && x < layer->in_w) {
        values[count++] = input[(y * layer->in_w + x) * layer->in_c + c];
      }
    }
  }
  return count;
}

static void max_pool_follows_the_specification(void) {
  const lutra_pool layer = random_layer();
  const int8_t *const input = random_image(&layer);
  int8_t *const output = random_bytes((size_t)output_size(&layer)), *const expected = buffer((size_t)output_size(&layer));
  for (int o = 0; o < output_size(&layer); o++) {
    const int pixel = o / layer.in_c;
    int8_t values[16] = {0};
    const int count = window_values(&layer, input, pixel / layer.out_w, pixel % layer.out_w, o % layer.in_c, values);
    expected[o] = values[0];
    for (int i = 1; i < count; i++) {
      expected[o] = values[i] > expected[o] ? values[i] : expected[o];
    }
  }
  lutra_max_pool(&layer, input, output);
  check_outputs(output, expected, output_size(&layer), -128, 127);
}

static void average_pool_follows_the_specification(void) {
  lutra_pool layer = random_layer();
  layer.shift = 16;
  const int positions = layer.kernel_h * layer.kernel_w, entries = layer.count_include_pad ? 1 : positions;
  uint16_t *const multipliers = buffer((size_t)entries * sizeof *multipliers);
  for (int i = 0; i < entries; i++) {
    multipliers[i] = (uint16_t)(between(40000, 65535) / (layer.count_include_pad ? positions : i + 1));
  }
  const int8_t *const input = random_image(&layer);
  int8_t *const output = random_bytes((size_t)output_size(&layer)), *const expected = buffer((size_t)output_size(&layer));
  for (int o = 0; o < output_size(&layer); o++) {
    const int pixel = o / layer.in_c;
    int8_t values[16] = {0};
    const int count = window_values(&layer, input, pixel / layer.out_w, pixel % layer.out_w, o % layer.in_c, values);
    int64_t sum = 0;
    for (int i = 0; i < count; i++) {
      sum += values[i] - layer.input_zero_point;
    }
    expected[o] = naive_scale(sum, multipliers[layer.count_include_pad ? 0 : count - 1], layer.shift, layer.output_zero_point,
                              layer.output_min, layer.output_max);
  }
  lutra_average_pool(&layer, multipliers, input, output);
  check_outputs(output, expected, output_size(&layer), layer.output_min, layer.output_max);
}

/* Means of 1 and 2, and of -1 and -2: 1.5 rounds up, -1.5 does too. */
static void average_pool_rounds_half_up(void) {
  static const int8_t input[] = {1, -1, 2, -2};
  static const uint16_t multipliers[] = {2, 1};
  const lutra_pool layer = {
      .in_h = 1, .in_w = 2, .in_c = 2, .out_h = 1, .out_w = 1, .kernel_h = 1, .kernel_w = 2, .stride_h = 1, .stride_w = 1,
      .output_min = -128, .output_max = 127, .shift = 1,
  };
  int8_t output[2];
  lutra_average_pool(&layer, multipliers, input, output);
  CHECK(output[0] == 2 && output[1] == -1);
}

static void damaged_multipliers_do_no_harm(void) {
  lutra_pool layer = random_layer();
  layer.shift = (uint8_t)between(1, 30);
  const uint16_t *const multipliers = buffer(sizeof *multipliers * layer.kernel_h * layer.kernel_w);
  int8_t *const output = random_bytes((size_t)output_size(&layer));
  lutra_average_pool(&layer, multipliers, random_image(&layer), output);
  for (int i = 0; i < output_size(&layer); i++) {
    CHECK(layer.output_min <= output[i] && output[i] <= layer.output_max);
  }
}

int main(void) {
  RUN(500, max_pool_follows_the_specification);
  check_lively();
  RUN(500, average_pool_follows_the_specification);
  check_lively();
  RUN(1, average_pool_rounds_half_up);
  RUN(300, damaged_multipliers_do_no_harm);
  return 0;
}
