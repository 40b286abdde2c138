/* SPDX-License-Identifier: Apache-2.0 */
/* From integers of one scale to int8 of another: SPEC.md, sections 2 and 4. */
#ifndef LUTRA_SCALE_H
#define LUTRA_SCALE_H

#include <stdint.h>

static inline int8_t lutra_clamp(int32_t value, int8_t minimum, int8_t maximum) {
  return (int8_t)(value < minimum ? minimum : value > maximum ? maximum : value);
}

/* zero_point + value * multiplier / 2^shift, rounded to nearest; shift 1..31. The product wraps, so that corrupted tables
 * are not undefined behaviour. */
static inline int32_t lutra_scale(int32_t value, uint32_t multiplier, uint32_t shift, int8_t zero_point) {
  return zero_point + ((int32_t)((uint32_t)value * multiplier + (1u << (shift - 1u))) >> shift);
}

#endif
