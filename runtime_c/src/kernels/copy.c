/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_operators.h"

void lutra_copy_int8(const lutra_copy *layer, const int8_t *input, int8_t *output) {
  const lutra_copy how = *layer; /* for all the compiler knows, the output might be the layer */
  input += how.in_start_low + ((uint32_t)how.in_start_high << 16);
  output += how.out_start_low + ((uint32_t)how.out_start_high << 16);
  for (uint32_t i0 = 0u; i0 < how.count_0; i0++) {
    for (uint32_t i1 = 0u; i1 < how.count_1; i1++) {
      for (uint32_t i2 = 0u; i2 < how.count_2; i2++) {
        const int8_t *from = input + i0 * how.in_step_0 + i1 * how.in_step_1 + i2 * how.in_step_2;
        int8_t *to = output + i0 * how.out_step_0 + i1 * how.out_step_1 + i2 * how.out_step_2;
        for (uint32_t i3 = 0u; i3 < how.count_3; i3++) {
          const int8_t *source = from;
          int8_t *sink = to;
          for (uint32_t i4 = 0u; i4 < how.count_4; i4++) {
            *sink = *source;
            source += how.in_step_4;
            sink += how.out_step_4;
          }
          from += how.in_step_3;
          to += how.out_step_3;
        }
      }
    }
  }
}
