/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "harness.h"
#include "naive.h"
#include "random_tables.h"

static int8_t *copy(const int8_t *values, size_t count) { return memcpy(random_bytes(count), values, count); }

static lutra_add random_add(uint32_t size) {
  return (lutra_add){
      .size_low = (uint16_t)(size % 65536u), .size_high = (uint16_t)(size / 65536u),
      .multiplier_a = (uint16_t)between(1, 65535), .multiplier_b = (uint16_t)between(1, 65535),
      .zero_point_a = (int8_t)between(-128, 127), .zero_point_b = (int8_t)between(-128, 127),
      .output_zero_point = (int8_t)between(-40, 40), .output_min = (int8_t)between(-128, -100),
      .output_max = (int8_t)between(100, 127), .shift = (uint8_t)between(17, 18),
  };
}

static void check_add(const lutra_add *layer, int size) {
  const int8_t *const a = random_bytes((size_t)size), *const b = random_bytes((size_t)size);
  int8_t *const expected = buffer((size_t)size), *const output = random_bytes((size_t)size);
  for (int i = 0; i < size; i++) {
    const int64_t sum = (int64_t)(a[i] - layer->zero_point_a) * layer->multiplier_a +
                        (int64_t)(b[i] - layer->zero_point_b) * layer->multiplier_b;
    expected[i] = naive_scale(sum, 1, layer->shift, layer->output_zero_point, layer->output_min, layer->output_max);
  }
  int8_t *const in_a = copy(a, (size_t)size), *const in_b = copy(b, (size_t)size);
  lutra_add_int8(layer, a, b, output);
  lutra_add_int8(layer, in_a, b, in_a);
  lutra_add_int8(layer, a, in_b, in_b);
  check_outputs(output, expected, size, layer->output_min, layer->output_max);
  CHECK(memcmp(in_a, expected, (size_t)size) == 0);
  CHECK(memcmp(in_b, expected, (size_t)size) == 0);
}

static void add_follows_the_specification_in_place_as_well(void) {
  const int size = between(1, 70);
  const lutra_add layer = random_add((uint32_t)size);
  check_add(&layer, size);
}

static void add_takes_more_than_65535_elements(void) {
  const lutra_add layer = random_add(65536 + 7);
  check_add(&layer, 65536 + 7);
}

static lutra_rescale random_rescale(uint32_t pixels, uint16_t channels) {
  return (lutra_rescale){
      .pixels_low = (uint16_t)(pixels % 65536u), .pixels_high = (uint16_t)(pixels / 65536u), .channels = channels,
      .output_stride = channels, .multiplier = (uint16_t)between(20000, 65535), .input_zero_point = (int8_t)between(-30, 30),
      .output_zero_point = (int8_t)between(-40, 40), .output_min = (int8_t)between(-128, -100),
      .output_max = (int8_t)between(100, 127), .shift = 16,
  };
}

static void expect_rescaled(const lutra_rescale *layer, const int8_t *input, int size, int8_t *expected) {
  for (int i = 0; i < size; i++) {
    expected[i] = naive_scale(input[i] - layer->input_zero_point, layer->multiplier, layer->shift, layer->output_zero_point,
                              layer->output_min, layer->output_max);
  }
}

static void rescale_follows_the_specification_in_place_as_well(void) {
  const int pixels = between(1, 9), channels = between(1, 9), size = pixels * channels;
  const lutra_rescale layer = random_rescale((uint32_t)pixels, (uint16_t)channels);
  const int8_t *const input = random_bytes((size_t)size);
  int8_t *const expected = buffer((size_t)size), *const output = random_bytes((size_t)size);
  int8_t *const in_place = copy(input, (size_t)size);
  expect_rescaled(&layer, input, size, expected);
  lutra_rescale_int8(&layer, input, output);
  lutra_rescale_int8(&layer, in_place, in_place);
  check_outputs(output, expected, size, layer.output_min, layer.output_max);
  CHECK(memcmp(in_place, expected, (size_t)size) == 0);
}

static void rescale_takes_more_than_65535_pixels(void) {
  const lutra_rescale layer = random_rescale(65536 + 7, 1);
  const int8_t *const input = random_bytes(65536 + 7);
  int8_t *const expected = buffer(65536 + 7), *const output = random_bytes(65536 + 7);
  expect_rescaled(&layer, input, 65536 + 7, expected);
  lutra_rescale_int8(&layer, input, output);
  CHECK(memcmp(output, expected, 65536 + 7) == 0);
}

/* Parts of 2 and 3 channels beside one another; the channel before them keeps its value. */
static void rescales_make_a_concat(void) {
  static const int8_t a[] = {1, 2, 11, 12}, b[] = {3, 4, 5, 13, 14, 15};
  lutra_rescale layer = {
      .pixels_low = 2, .channels = 2, .output_stride = 6, .output_offset = 1, .multiplier = 4, .shift = 1, .output_min = -128,
      .output_max = 127,
  };
  int8_t output[12] = {0};
  lutra_rescale_int8(&layer, a, output);
  layer.channels = 3;
  layer.output_offset = 3;
  lutra_rescale_int8(&layer, b, output);
  static const int8_t expected[] = {0, 2, 4, 6, 8, 10, 0, 22, 24, 26, 28, 30};
  CHECK(memcmp(output, expected, sizeof expected) == 0);
}

/* One dimension of a slice and pad: any part of the input, any step, between any margins. */
static void random_range(uint16_t *in, uint16_t *out, uint16_t *first, uint16_t *step, uint16_t *pad, uint16_t *count) {
  *count = (uint16_t)between(1, 4);
  *step = (uint16_t)between(1, 3);
  *first = (uint16_t)between(0, 3);
  *in = (uint16_t)(*first + (*count - 1) * *step + 1 + between(0, 2));
  *pad = (uint16_t)between(0, 2);
  *out = (uint16_t)(*pad + *count + between(0, 2));
}

static void slice_pad_follows_the_specification(void) {
  lutra_slice_pad layer = {.zero_point = (int8_t)between(-128, 127)};
  random_range(&layer.in_h, &layer.out_h, &layer.start_h, &layer.step_h, &layer.pad_h, &layer.count_h);
  random_range(&layer.in_w, &layer.out_w, &layer.start_w, &layer.step_w, &layer.pad_w, &layer.count_w);
  random_range(&layer.in_c, &layer.out_c, &layer.start_c, &layer.step_c, &layer.pad_c, &layer.count_c);
  const int size = layer.out_h * layer.out_w * layer.out_c;
  const int8_t *const input = random_bytes((size_t)(layer.in_h * layer.in_w * layer.in_c));
  int8_t *const expected = buffer((size_t)size), *const output = random_bytes((size_t)size);
  memset(expected, layer.zero_point, (size_t)size);
  for (int i = 0; i < layer.count_h; i++) {
    for (int j = 0; j < layer.count_w; j++) {
      for (int c = 0; c < layer.count_c; c++) {
        const int y = layer.start_h + i * layer.step_h, x = layer.start_w + j * layer.step_w;
        const int z = layer.start_c + c * layer.step_c;
        expected[((layer.pad_h + i) * layer.out_w + layer.pad_w + j) * layer.out_c + layer.pad_c + c] =
            input[(y * layer.in_w + x) * layer.in_c + z];
      }
    }
  }
  lutra_slice_pad_int8(&layer, input, output);
  CHECK(memcmp(output, expected, (size_t)size) == 0);
}

static void select_copies_the_chosen_features_in_place_as_well(void) {
  const int features = between(1, 70);
  uint8_t *const mask = buffer((size_t)(features + 7) / 8);
  int8_t *const input = random_bytes((size_t)features), *const expected = buffer((size_t)features);
  lutra_select layer = {(uint16_t)features, 0};
  memset(mask, 0, (size_t)(features + 7) / 8);
  for (int i = 0; i < features; i++) {
    if (between(0, 2) > 0) {
      mask[i / 8] = (uint8_t)(mask[i / 8] | 1u << (i % 8));
      expected[layer.out_c++] = input[i];
    }
  }
  int8_t *const output = random_bytes(layer.out_c);
  lutra_select_int8(&layer, mask, input, output);
  lutra_select_int8(&layer, mask, input, input);
  check_outputs(output, expected, layer.out_c, -128, 127);
  CHECK(memcmp(input, expected, layer.out_c) == 0);
}

static void a_damaged_mask_does_no_harm(void) {
  const lutra_select layer = {20, 5};
  static const uint8_t few[3] = {0x10}, many[3] = {0xff, 0xff, 0xff};
  const int8_t *const input = random_bytes(20);
  int8_t *const output = random_bytes(5);
  lutra_select_int8(&layer, few, input, output);
  CHECK(output[0] == input[4] && memcmp(output + 1, (const int8_t[4]){0}, 4) == 0);
  lutra_select_int8(&layer, many, input, output);
  CHECK(memcmp(output, input, 5) == 0);
}

static void softmax_follows_the_specification_in_place_as_well(void) {
  const lutra_softmax layer = {.pixels = (uint16_t)between(1, 4), .channels = (uint16_t)between(1, 30)};
  uint16_t *const exponentials = buffer(256 * sizeof *exponentials);
  int value = 32767;
  for (int k = 0; k < 256; k++) {
    exponentials[k] = (uint16_t)value;
    value = value * 31 / 32;
  }
  const int size = layer.pixels * layer.channels;
  const int8_t *const input = random_bytes((size_t)size);
  int8_t *const expected = buffer((size_t)size), *const output = random_bytes((size_t)size);
  int8_t *const in_place = copy(input, (size_t)size);
  for (int pixel = 0; pixel < layer.pixels; pixel++) {
    const int8_t *const x = input + pixel * layer.channels;
    int largest = x[0];
    for (int c = 1; c < layer.channels; c++) {
      largest = x[c] > largest ? x[c] : largest;
    }
    int64_t sum = 0;
    for (int c = 0; c < layer.channels; c++) {
      sum += exponentials[largest - x[c]];
    }
    for (int c = 0; c < layer.channels; c++) {
      const int64_t y = (exponentials[largest - x[c]] * 256 + sum / 2) / sum - 128;
      expected[pixel * layer.channels + c] = (int8_t)(y < 127 ? y : 127);
    }
  }
  lutra_softmax_int8(&layer, exponentials, input, output);
  lutra_softmax_int8(&layer, exponentials, in_place, in_place);
  check_outputs(output, expected, size, -128, 127);
  CHECK(memcmp(in_place, expected, (size_t)size) == 0);
}

/* Two equal inputs have a half each, one alone has 255/256: there is no more in int8. */
static void softmax_sums_to_one(void) {
  static const uint16_t exponentials[256] = {32767};
  static const int8_t equal[] = {9, 9}, apart[] = {-1, 0};
  const lutra_softmax layer = {1, 2};
  int8_t output[2];
  lutra_softmax_int8(&layer, exponentials, equal, output);
  CHECK(output[0] == 0 && output[1] == 0);
  lutra_softmax_int8(&layer, exponentials, apart, output);
  CHECK(output[0] == -128 && output[1] == 127);
}

static void softmax_takes_512_channels(void) {
  static const uint16_t exponentials[256] = {32767};
  const lutra_softmax layer = {1, 512};
  int8_t *const values = buffer(512);
  memset(values, 100, 512);
  lutra_softmax_int8(&layer, exponentials, values, values);
  for (int c = 0; c < 512; c++) {
    CHECK(values[c] == -127); /* 1/512 rounds up to 1/256 */
  }
}

static void damaged_exponentials_do_no_harm(void) {
  static const uint16_t zeros[256] = {0};
  const lutra_softmax layer = {.pixels = 3, .channels = (uint16_t)between(1, 512)};
  const size_t size = 3u * layer.channels;
  const int8_t *const input = random_bytes(size);
  int8_t *const output = random_bytes(size);
  lutra_softmax_int8(&layer, buffer(256 * sizeof(uint16_t)), input, output);
  lutra_softmax_int8(&layer, zeros, input, output);
  for (size_t i = 0; i < size; i++) {
    CHECK(output[i] == -128);
  }
}

int main(void) {
  RUN(300, add_follows_the_specification_in_place_as_well);
  check_lively();
  RUN(1, add_takes_more_than_65535_elements);
  RUN(300, rescale_follows_the_specification_in_place_as_well);
  check_lively();
  RUN(1, rescale_takes_more_than_65535_pixels);
  RUN(1, rescales_make_a_concat);
  RUN(300, slice_pad_follows_the_specification);
  RUN(300, select_copies_the_chosen_features_in_place_as_well);
  check_lively();
  RUN(1, a_damaged_mask_does_no_harm);
  RUN(300, softmax_follows_the_specification_in_place_as_well);
  check_lively();
  RUN(1, softmax_sums_to_one);
  RUN(1, softmax_takes_512_channels);
  RUN(100, damaged_exponentials_do_no_harm);
  return 0;
}
