/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_kernels.h"

#include "../scale.h"

#if !defined(LUTRA_PORTABLE) && defined(__GNUC__) && defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
static void add_all(const lutra_add *how, int32_t offset, const int8_t *a, const int8_t *b, int8_t *output, uint32_t size) {
  const uint32_t minimum = (uint32_t)how->output_min, maximum = (uint32_t)how->output_max;
  __asm__ volatile("vdup.32 q0, %[offset]\n"
                   "vdup.32 q2, %[minimum]\n"
                   "vdup.32 q3, %[maximum]\n"
                   "wlstp.32 lr, %[size], 2f\n"
                   "1: vldrb.s32 q1, [%[a]], #4\n"
                   "vmul.i32 q1, q1, %[multiplier_a]\n"
                   "vldrb.s32 q4, [%[b]], #4\n"
                   "vmla.s32 q1, q4, %[multiplier_b]\n"
                   "vadd.i32 q1, q1, q0\n"
                   "vshl.s32 q1, %[shift]\n"
                   "vadd.i32 q1, q1, %[zero_point]\n"
                   "vmax.s32 q1, q1, q2\n"
                   "vmin.s32 q1, q1, q3\n"
                   "vstrb.32 q1, [%[output]], #4\n"
                   "letp lr, 1b\n"
                   "2:\n"
                   : [a] "+l"(a), [b] "+l"(b), [output] "+l"(output)
                   : [offset] "r"(offset), [minimum] "r"(minimum), [maximum] "r"(maximum), [size] "r"(size),
                     [multiplier_a] "r"((uint32_t)how->multiplier_a), [multiplier_b] "r"((uint32_t)how->multiplier_b),
                     [shift] "r"(-(int32_t)how->shift), [zero_point] "r"((int32_t)how->output_zero_point)
                   : "q0", "q1", "q2", "q3", "q4", "lr", "memory");
}
#else
static void add_all(const lutra_add *layer, int32_t offset, const int8_t *a, const int8_t *b, int8_t *output, uint32_t size) {
  const lutra_add how = *layer; /* for all the compiler knows, the output might be the layer */
  do {
    const int32_t sum = *a++ * how.multiplier_a + *b++ * how.multiplier_b + offset;
    *output++ = lutra_clamp(how.output_zero_point + (sum >> how.shift), how.output_min, how.output_max);
  } while (--size > 0u);
}
#endif

void lutra_add_int8(const lutra_add *layer, const int8_t *a, const int8_t *b, int8_t *output) {
  /* Zero points and rounding in one. */
  const int32_t offset = (int32_t)(1u << (layer->shift - 1u)) - layer->zero_point_a * layer->multiplier_a -
                         layer->zero_point_b * layer->multiplier_b;
  add_all(layer, offset, a, b, output, layer->size_low + ((uint32_t)layer->size_high << 16));
}
