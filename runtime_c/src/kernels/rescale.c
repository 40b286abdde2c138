/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_kernels.h"

#include "../scale.h"

void lutra_rescale_int8(const lutra_rescale *layer, const int8_t *input, int8_t *output) {
  const lutra_rescale how = *layer; /* for all the compiler knows, the output might be the layer */
  output += how.output_offset;
  for (uint32_t pixels = how.pixels_low + ((uint32_t)how.pixels_high << 16); pixels > 0u; pixels--) {
    for (uint32_t c = 0u; c < how.channels; c++) {
      const int32_t value = *input++ - how.input_zero_point;
      output[c] = lutra_clamp(lutra_scale(value, how.multiplier, how.shift, how.output_zero_point), how.output_min, how.output_max);
    }
    output += how.output_stride;
  }
}
