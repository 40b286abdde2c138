/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_operators.h"

#include "../scale.h"

/* Largest r with r * r <= value. */
static uint32_t root_of(uint32_t value) {
  uint32_t root = 0u;
  for (uint32_t bit = 1u << 30; bit != 0u; bit >>= 2) {
    const uint32_t reached = root + bit;
    root >>= 1;
    if (value >= reached) {
      value -= reached;
      root += bit;
    }
  }
  return root;
}

/* Output steps of a value of count * x - sum are multiplier / 2^shift. */
typedef struct {
  uint32_t multiplier, shift;
} step;

/* `spread`: 256 * count^2 times the variance and epsilon, in squares of the input's steps. */
static step step_of(const lutra_normalise *how, uint64_t spread) {
  uint32_t shift = 12u + how->gain_shift - how->value_shift; /* wraps at first: a count of many values has a large spread */
  if (spread == 0u) {
    return (step){0u, 1u};
  }
  for (; spread >> 32 != 0u; spread >>= 2) {
    shift++;
  }
  uint32_t scaled = (uint32_t)spread;
  for (; scaled < 1u << 30; scaled <<= 2) {
    shift--;
  }
  const uint32_t root = root_of(scaled);
  uint32_t multiplier = (((1u << 31) + (root >> 1)) / root * how->gain + (1u << 14)) >> 15;
  for (; shift > 30u; shift--) {
    multiplier >>= 1;
  }
  return (step){multiplier, shift};
}

void lutra_normalise_int8(const lutra_normalise *layer, const int8_t *input, int8_t *output) {
  const lutra_normalise how = *layer; /* for all the compiler knows, the output might be the layer */
  const uint32_t size = (uint32_t)how.count * how.inner;
  const uint64_t epsilon = how.epsilon_low | (uint32_t)how.epsilon_mid << 16 | (uint64_t)how.epsilon_high << 32;
  const int32_t half = (int32_t)((1u << how.value_shift) >> 1);
  for (uint32_t i = 0u; i < how.outer; i++) {
    for (uint32_t j = 0u; j < how.inner; j++) {
      int32_t sum = 0;
      uint32_t squares = 0u;
      for (uint32_t k = j; k < size; k += how.inner) {
        sum += input[k];
        squares += (uint32_t)(input[k] * input[k]);
      }
      const uint64_t spread = (uint64_t)how.count * squares - (uint64_t)((int64_t)sum * sum);
      const step each = step_of(&how, (spread << 8) + epsilon);
      for (uint32_t k = j; k < size; k += how.inner) {
        const int32_t value = (how.count * input[k] - sum + half) >> how.value_shift;
        output[k] = lutra_clamp(lutra_scale(value, each.multiplier, each.shift, how.output_zero_point), how.output_min, how.output_max);
      }
    }
    input += size;
    output += size;
  }
}
