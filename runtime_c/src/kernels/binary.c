/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_kernels.h"

#include "../scale.h"

/* How far the input moves from the end of a pixel to the next one. */
static int32_t to_next_pixel(uint32_t steps, uint32_t channels) {
  const int32_t moved = (steps & LUTRA_STEPS_CHANNELS) != 0u ? (int32_t)channels : 0;
  if ((steps & LUTRA_STEPS_PIXELS) == 0u) {
    return -moved;
  }
  return moved == 0;
}

void lutra_binary_int8(const lutra_binary *layer, const int8_t *a, const int8_t *b, int8_t *output) {
  const lutra_binary how = *layer; /* for all the compiler knows, the output might be the layer */
  const uint32_t function = how.function;
  const uint32_t step_a = how.steps_a & LUTRA_STEPS_CHANNELS, step_b = how.steps_b & LUTRA_STEPS_CHANNELS;
  const int32_t next_a = to_next_pixel(how.steps_a, how.channels), next_b = to_next_pixel(how.steps_b, how.channels);
  const int32_t multiplier_a = how.multiplier_a, multiplier_b = how.multiplier_b;
  const int32_t zero_a = how.zero_point_a * multiplier_a;
  const int32_t zero_b = function == LUTRA_MULTIPLY ? how.zero_point_b : how.zero_point_b * multiplier_b;
  for (uint32_t pixels = how.pixels_low + ((uint32_t)how.pixels_high << 16); pixels > 0u; pixels--) {
    for (uint32_t c = how.channels; c > 0u; c--) {
      const int32_t x = *a * multiplier_a - zero_a;
      int32_t result;
      if (function == LUTRA_MULTIPLY) {
        result = (int32_t)((uint32_t)x * (uint32_t)(*b - zero_b));
      } else {
        const int32_t y = *b * multiplier_b - zero_b;
        result = x + y;
        if (function != LUTRA_ADD) {
          result = (x < y) == (function == LUTRA_MINIMUM) ? x : y;
        }
      }
      *output++ = lutra_clamp(lutra_scale(result, 1u, how.shift, how.output_zero_point), how.output_min, how.output_max);
      a += step_a;
      b += step_b;
    }
    a += next_a;
    b += next_b;
  }
}
