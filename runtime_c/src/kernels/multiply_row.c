/* SPDX-License-Identifier: Apache-2.0 */
#include "../scale.h"
#include "binary.h"

void lutra_multiply_row(const lutra_binary *how, const int8_t *a, const int8_t *b, int8_t *output, uint32_t count) {
  const uint32_t step_a = how->steps_a & LUTRA_STEPS_CHANNELS, step_b = how->steps_b & LUTRA_STEPS_CHANNELS;
  const int32_t multiplier = how->multiplier_a, zero_a = how->zero_point_a * multiplier, zero_b = how->zero_point_b;
  const int32_t zero = how->output_zero_point, minimum = how->output_min, maximum = how->output_max;
  const uint32_t all_but_one = how->shift - 1u; /* of the shift: the last bit that goes rounds the result */
  for (const int8_t *const end = output + count; output != end; output++) {
    const int32_t product = (int32_t)((uint32_t)(*a * multiplier - zero_a) * (uint32_t)(*b - zero_b));
    const int32_t y = zero + (((product >> all_but_one) + 1) >> 1);
    *output = (int8_t)(y < minimum ? minimum : y > maximum ? maximum : y);
    a += step_a;
    b += step_b;
  }
}
