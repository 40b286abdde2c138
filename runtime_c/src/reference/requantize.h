/* SPDX-License-Identifier: Apache-2.0 */
/* From sums to int8: SPEC.md, sections 2 and 3. */
#ifndef LUTRA_REQUANTIZE_H
#define LUTRA_REQUANTIZE_H

#include "lutra/lutra_kernels.h"

static inline int8_t lutra_clamp(int32_t value, int8_t minimum, int8_t maximum) {
  return (int8_t)(value < minimum ? minimum : value > maximum ? maximum : value);
}

/* zero_point + value * multiplier / 2^shift, rounded to nearest; shift 1..31. The product wraps, so that corrupted tables
 * are not undefined behaviour. */
static inline int32_t lutra_scale(int32_t value, uint32_t multiplier, uint32_t shift, int8_t zero_point) {
  return zero_point + ((int32_t)((uint32_t)value * multiplier + (1u << (shift - 1u))) >> shift);
}

/* An output from the sum of its products, to which this adds the bias. */
int8_t lutra_linear_requantize(const lutra_linear *layer, lutra_channel channel, uint32_t sum);

/* The same, stored if it exceeds *output: fused max pooling goes through a window's positions. */
void lutra_conv2d_store(const lutra_conv2d *layer, lutra_channel channel, uint32_t sum, int8_t *output);

#endif
