/* SPDX-License-Identifier: Apache-2.0 */
#include "../scale.h"
#include "binary.h"

void lutra_combine_row(const lutra_binary *how, const int8_t *a, const int8_t *b, int8_t *output, uint32_t count) {
  const uint32_t step_a = how->steps_a & LUTRA_STEPS_CHANNELS, step_b = how->steps_b & LUTRA_STEPS_CHANNELS;
  const int32_t multiplier_a = how->multiplier_a, multiplier_b = how->multiplier_b;
  const int32_t zero_a = how->zero_point_a * multiplier_a, zero_b = how->zero_point_b * multiplier_b;
  const lutra_binary layer = *how; /* for all the compiler knows, the output might be the layer */
  for (const int8_t *const end = output + count; output != end; output++) {
    const int32_t x = *a * multiplier_a - zero_a, y = *b * multiplier_b - zero_b;
    int32_t result = x + y;
    if (layer.function != LUTRA_ADD) {
      result = (x < y) == (layer.function == LUTRA_MINIMUM) ? x : y;
    }
    *output = lutra_clamp(lutra_scale(result, 1u, layer.shift, layer.output_zero_point), layer.output_min, layer.output_max);
    a += step_a;
    b += step_b;
  }
}
