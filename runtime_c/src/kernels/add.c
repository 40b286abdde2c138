/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_kernels.h"

#include "../scale.h"

void lutra_add_int8(const lutra_add *layer, const int8_t *a, const int8_t *b, int8_t *output) {
  const lutra_add how = *layer; /* for all the compiler knows, the output might be the layer */
  /* Zero points and rounding in one. */
  const int32_t offset =
      (int32_t)(1u << (how.shift - 1u)) - how.zero_point_a * how.multiplier_a - how.zero_point_b * how.multiplier_b;
  for (uint32_t size = how.size_low + ((uint32_t)how.size_high << 16); size > 0u; size--) {
    const int32_t sum = *a++ * how.multiplier_a + *b++ * how.multiplier_b + offset;
    *output++ = lutra_clamp(how.output_zero_point + (sum >> how.shift), how.output_min, how.output_max);
  }
}
