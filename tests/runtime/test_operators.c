/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "lutra/lutra_operators.h"

#include "harness.h"
#include "naive.h"
#include "random_tables.h"

static int8_t *copy_of(const int8_t *values, size_t count) { return memcpy(random_bytes(count), values, count); }

static void lookup_takes_each_value_from_the_table_in_place_as_well(void) {
  const int size = between(1, 300);
  const lutra_lookup layer = {(uint16_t)size, 0};
  const int8_t *const table = random_bytes(256), *const input = random_bytes((size_t)size);
  int8_t *const expected = buffer((size_t)size), *const output = random_bytes((size_t)size);
  int8_t *const in_place = copy_of(input, (size_t)size);
  for (int i = 0; i < size; i++) {
    expected[i] = table[input[i] + 128];
  }
  lutra_lookup_int8(&layer, table, input, output);
  lutra_lookup_int8(&layer, table, in_place, in_place);
  CHECK(memcmp(output, expected, (size_t)size) == 0);
  CHECK(memcmp(in_place, expected, (size_t)size) == 0);
}

static void lookup_takes_more_than_65535_elements(void) {
  const lutra_lookup layer = {7, 1};
  const int8_t *const table = random_bytes(256), *const input = random_bytes(65536 + 7);
  int8_t *const output = random_bytes(65536 + 7);
  lutra_lookup_int8(&layer, table, input, output);
  for (int i = 0; i < 65536 + 7; i++) {
    CHECK(output[i] == table[input[i] + 128]);
  }
}

/* Where value `i` of a pixel and `c` of a channel comes from. */
static int place(int steps, int i, int c, int channels) {
  const int has_channels = steps & 1, has_pixels = steps >> 1;
  return (has_pixels ? i * (has_channels ? channels : 1) : 0) + (has_channels ? c : 0);
}

static void binary_follows_the_specification(void) {
  const int pixels = between(1, 9), channels = between(1, 9), size = pixels * channels;
  lutra_binary layer = {
      .pixels_low = (uint16_t)pixels, .channels = (uint16_t)channels, .function = (uint8_t)between(0, 3),
      .steps_a = (uint8_t)between(0, 3), .steps_b = (uint8_t)between(0, 3), .zero_point_a = (int8_t)between(-128, 127),
      .zero_point_b = (int8_t)between(-128, 127), .output_zero_point = (int8_t)between(-40, 40),
      .output_min = (int8_t)between(-128, -100), .output_max = (int8_t)between(100, 127),
  };
  const int multiplies = layer.function == LUTRA_MULTIPLY;
  layer.multiplier_a = (int16_t)(multiplies ? between(1, 16000) : between(-32767, 32767));
  layer.multiplier_b = (int16_t)(multiplies ? 0 : between(-32767, 32767));
  layer.shift = (uint8_t)(multiplies ? between(21, 23) : 15);
  const int8_t *const a = random_bytes((size_t)size), *const b = random_bytes((size_t)size);
  int8_t *const expected = buffer((size_t)size), *const output = random_bytes((size_t)size);
  for (int i = 0; i < pixels; i++) {
    for (int c = 0; c < channels; c++) {
      const int64_t x = (int64_t)(a[place(layer.steps_a, i, c, channels)] - layer.zero_point_a) * layer.multiplier_a;
      const int64_t plain = b[place(layer.steps_b, i, c, channels)] - layer.zero_point_b, y = plain * layer.multiplier_b;
      const int64_t results[] = {x * plain, x + y, x < y ? x : y, x < y ? y : x};
      expected[i * channels + c] = naive_scale(results[layer.function], 1, layer.shift, layer.output_zero_point, layer.output_min,
                                               layer.output_max);
    }
  }
  lutra_binary_int8(&layer, a, b, output);
  check_outputs(output, expected, size, layer.output_min, layer.output_max);
  if (layer.steps_a == (LUTRA_STEPS_CHANNELS | LUTRA_STEPS_PIXELS)) {
    int8_t *const in_place = copy_of(a, (size_t)size);
    lutra_binary_int8(&layer, in_place, b, in_place);
    CHECK(memcmp(in_place, expected, (size_t)size) == 0);
  }
}

static void a_value_times_itself_is_its_square(void) {
  const lutra_binary layer = {
      .pixels_low = 1, .channels = 3, .multiplier_a = 4, .shift = 2, .output_min = -128, .output_max = 127, .steps_a = 3, .steps_b = 3,
  };
  int8_t values[] = {-11, 0, 5};
  lutra_binary_int8(&layer, values, values, values);
  CHECK(values[0] == 121 && values[1] == 0 && values[2] == 25);
}

/* A block of five axes out of one array, to anywhere in another; what is not written stays. */
static void copy_moves_just_its_block(void) {
  uint16_t counts[5], in_steps[5], out_steps[5];
  int in_size = between(0, 3), out_size = between(0, 3);
  const int in_start = in_size, out_start = out_size;
  for (int axis = 0; axis < 5; axis++) {
    counts[axis] = (uint16_t)between(1, 3);
  }
  int dense = 1;
  for (int axis = 4; axis >= 0; axis--) {
    in_steps[axis] = (uint16_t)between(0, 20);
    out_steps[axis] = (uint16_t)(dense + between(0, 2));
    dense = out_steps[axis] * counts[axis];
    in_size += (counts[axis] - 1) * in_steps[axis];
    out_size += (counts[axis] - 1) * out_steps[axis];
  }
  const lutra_copy layer = {
      counts[0],   counts[1],   counts[2],    counts[3],    counts[4],    in_steps[0],  in_steps[1],        in_steps[2], in_steps[3],
      in_steps[4], out_steps[0], out_steps[1], out_steps[2], out_steps[3], out_steps[4], (uint16_t)in_start, 0,
      (uint16_t)out_start, 0,
  };
  const int8_t *const input = random_bytes((size_t)in_size + 1);
  int8_t *const output = random_bytes((size_t)out_size + 1), *const expected = copy_of(output, (size_t)out_size + 1);
  for (int i = 0; i < counts[0] * counts[1] * counts[2] * counts[3] * counts[4]; i++) {
    int rest = i, from = in_start, to = out_start;
    for (int axis = 4; axis >= 0; axis--) {
      from += rest % counts[axis] * in_steps[axis];
      to += rest % counts[axis] * out_steps[axis];
      rest /= counts[axis];
    }
    expected[to] = input[from];
  }
  lutra_copy_int8(&layer, input, output);
  CHECK(memcmp(output, expected, (size_t)out_size + 1) == 0);
}

static void copy_reaches_beyond_65535_elements(void) {
  const lutra_copy layer = {
      .count_0 = 1, .count_1 = 1, .count_2 = 1, .count_3 = 1, .count_4 = 7, .in_step_4 = 1, .out_step_4 = 1, .in_start_high = 1,
      .out_start_low = 3, .out_start_high = 1,
  };
  const int8_t *const input = random_bytes(65536 + 7);
  int8_t *const output = random_bytes(65536 + 10);
  lutra_copy_int8(&layer, input, output);
  CHECK(memcmp(output + 65536 + 3, input + 65536, 7) == 0);
}

/* floor of the root of any number below 2^62. */
static int64_t naive_root(int64_t value) {
  int64_t low = 0, high = (int64_t)1 << 31;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    *(middle * middle <= value ? &low : &high) = middle;
  }
  return low;
}

static int8_t naive_normalised(const lutra_normalise *layer, const int8_t *row, int k) {
  const int64_t n = layer->count;
  int64_t sum = 0, squares = 0;
  for (int i = 0; i < layer->count; i++) {
    const int64_t x = row[i * layer->inner];
    sum += x;
    squares += x * x;
  }
  int64_t spread = 256 * (n * squares - sum * sum);
  spread += layer->epsilon_low + ((int64_t)layer->epsilon_mid << 16) + ((int64_t)layer->epsilon_high << 32);
  int shift = 12 + layer->gain_shift - layer->value_shift;
  if (spread == 0) {
    return layer->output_zero_point;
  }
  for (; spread >= (int64_t)1 << 32; spread /= 4) {
    shift++;
  }
  for (; spread < (int64_t)1 << 30; spread *= 4) {
    shift--;
  }
  const int64_t root = naive_root(spread);
  int64_t multiplier = ((((int64_t)1 << 31) + root / 2) / root * layer->gain + (1 << 14)) / (1 << 15);
  for (; shift > 30; shift--) {
    multiplier /= 2;
  }
  CHECK(shift >= 1);
  const int64_t centred = n * row[k * layer->inner] - sum;
  const int64_t value = floor_shift(centred + ((1 << layer->value_shift) >> 1), layer->value_shift);
  return naive_scale(value, multiplier, shift, layer->output_zero_point, layer->output_min, layer->output_max);
}

static lutra_normalise random_normalise(int outer, int count, int inner) {
  lutra_normalise layer = {
      .outer = (uint16_t)outer, .count = (uint16_t)count, .inner = (uint16_t)inner, .epsilon_low = (uint16_t)between(0, 65535),
      .epsilon_mid = (uint16_t)(between(0, 1) * between(0, 65535)), .gain = (uint16_t)between(1 << 14, (1 << 15) - 1),
      .gain_shift = (uint8_t)between(8, 11), .output_zero_point = (int8_t)between(-40, 40), .output_min = (int8_t)between(-128, -100),
      .output_max = (int8_t)between(100, 127),
  };
  while (255 * count >> layer.value_shift >= 1 << 14) {
    layer.value_shift++;
  }
  return layer;
}

static void check_normalise(const lutra_normalise *layer, const int8_t *input) {
  const int row = layer->count * layer->inner, size = layer->outer * row;
  int8_t *const expected = buffer((size_t)size), *const output = random_bytes((size_t)size);
  int8_t *const in_place = copy_of(input, (size_t)size);
  for (int i = 0; i < size; i++) {
    expected[i] = naive_normalised(layer, input + i / row * row + i % layer->inner, i % row / layer->inner);
  }
  lutra_normalise_int8(layer, input, output);
  lutra_normalise_int8(layer, in_place, in_place);
  check_outputs(output, expected, size, layer->output_min, layer->output_max);
  CHECK(memcmp(in_place, expected, (size_t)size) == 0);
}

static void normalise_follows_the_specification_in_place_as_well(void) {
  const lutra_normalise layer = random_normalise(between(1, 4), between(1, 40), between(1, 5));
  check_normalise(&layer, random_bytes((size_t)(layer.outer * layer.count * layer.inner)));
}

static void normalise_takes_long_rows(void) {
  const lutra_normalise layer = random_normalise(1, 2000, 1);
  check_normalise(&layer, random_bytes(2000));
}

static void what_is_constant_is_at_the_zero_point(void) {
  lutra_normalise layer = random_normalise(1, between(1, 100), 1);
  layer.epsilon_low = layer.epsilon_mid = 0;
  int8_t *const values = random_bytes(layer.count);
  memset(values, between(-128, 127), layer.count);
  lutra_normalise_int8(&layer, values, values);
  for (int i = 0; i < layer.count; i++) {
    CHECK(values[i] == layer.output_zero_point);
  }
}

/* -1 and 1 deviations of 32 output steps. */
static void two_values_are_a_deviation_from_their_mean(void) {
  const lutra_normalise layer = {.outer = 1, .count = 2, .inner = 1, .gain = 1 << 14, .gain_shift = 9, .output_min = -128, .output_max = 127};
  int8_t values[] = {10, 90};
  lutra_normalise_int8(&layer, values, values);
  CHECK(values[0] == -32 && values[1] == 32);
}

int main(void) {
  RUN(300, lookup_takes_each_value_from_the_table_in_place_as_well);
  RUN(1, lookup_takes_more_than_65535_elements);
  RUN(600, binary_follows_the_specification);
  check_lively();
  RUN(1, a_value_times_itself_is_its_square);
  RUN(300, copy_moves_just_its_block);
  RUN(1, copy_reaches_beyond_65535_elements);
  RUN(300, normalise_follows_the_specification_in_place_as_well);
  check_lively();
  RUN(16, normalise_takes_long_rows);
  RUN(100, what_is_constant_is_at_the_zero_point);
  RUN(1, two_values_are_a_deviation_from_their_mean);
  return 0;
}
