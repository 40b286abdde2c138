/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUTRA_REQUANTIZATION_H
#define LUTRA_REQUANTIZATION_H

#include <stddef.h>

#include "../loops.h"

/* A lutra_conv2d and a lutra_linear have in them, member after member, what a lutra_requantization is. */
#define LUTRA_REQUANTIZATION(layer) ((const lutra_requantization *)(const void *)&(layer)->output_zero_point)
#define LUTRA_SAME_MEMBERS(type)                                                                                 \
  typedef char type##_holds_a_requantization[offsetof(type, output_shift) - offsetof(type, output_zero_point) == \
                                                     offsetof(lutra_requantization, output_shift)                \
                                                 ? 1                                                             \
                                                 : -1]
LUTRA_SAME_MEMBERS(lutra_conv2d);
LUTRA_SAME_MEMBERS(lutra_linear);

/* One pixel of `count` channels: stored, or if `more` joined with what is stored there, of another position of the same window of
 * fused max pooling. Overwrites the sums. */
void lutra_store_pixel(const lutra_requantization *how, const lutra_channel *channels, uint32_t *sums, uint32_t count,
                       int8_t *output, uint32_t more);

#endif
