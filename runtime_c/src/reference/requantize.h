/* SPDX-License-Identifier: Apache-2.0 */
/* From sums to int8: SPEC.md, section 2. Sums and products wrap as uint32, so corrupted tables are not undefined behaviour. */
#ifndef LUTRA_REQUANTIZE_H
#define LUTRA_REQUANTIZE_H

#include "lutra/lutra_kernels.h"

static inline int8_t lutra_clamp(int32_t value, int8_t minimum, int8_t maximum) {
  return (int8_t)(value < minimum ? minimum : value > maximum ? maximum : value);
}

/* zero_point + value * multiplier / 2^shift, rounded to nearest; shift 1..31. */
static inline int32_t lutra_scale(int32_t value, uint32_t multiplier, uint32_t shift, int8_t zero_point) {
  return zero_point + ((int32_t)((uint32_t)value * multiplier + (1u << (shift - 1u))) >> shift);
}

static inline uint32_t lutra_bias(lutra_channel channel, uint32_t bias_shift) {
  return (uint32_t)channel.bias << bias_shift;
}

/* `layer`: a lutra_conv2d or a lutra_linear. */
#define LUTRA_REQUANTIZE(layer, channel, sum)                                                                      \
  lutra_clamp(lutra_scale((int32_t)(sum) >> (layer)->acc_shift, (channel).multiplier & 0x0FFFu,                    \
                          (layer)->output_shift + ((uint32_t)(channel).multiplier >> 12), (layer)->output_zero_point), \
              (layer)->output_min, (layer)->output_max)

#endif
