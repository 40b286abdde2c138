/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

/* Four channels at a time. `combine`: an instruction or two on the outputs, q1, and what is stored already. */
#define REQUANTIZE(combine)                                                                                                 \
  const int32x4_t minimum = vdupq_n_s32(how->output_min), maximum = vdupq_n_s32(how->output_max);                           \
  const int32x4_t half = vdupq_n_s32((int32_t)(1u << (how->output_shift - 1u))), shift = vdupq_n_s32(-how->output_shift);   \
  __asm__ volatile("dlstp.32 lr, %[count]\n"                                                                                \
                   "1: vldrh.16 q0, [%[channels]], #16\n"                                                                   \
                   "vmovlb.s16 q1, q0\n"                                                                                    \
                   "vldrw.32 q2, [%[sums]], #16\n"                                                                          \
                   "vshl.s32 q1, %[bias_shift]\n"                                                                           \
                   "vadd.i32 q1, q1, q2\n"                                                                                  \
                   "vshr.u32 q2, q0, #28\n"                                                                                 \
                   "vbic.i32 q0, #0xF0000000\n"                                                                             \
                   "vshl.s32 q1, %[acc_shift]\n"                                                                            \
                   "vshr.u32 q0, q0, #16\n"                                                                                 \
                   "vmul.i32 q1, q1, q0\n"                                                                                  \
                   "vshl.s32 q0, %q[half], q2\n"                                                                            \
                   "vsub.i32 q2, %q[shift], q2\n"                                                                           \
                   "vadd.i32 q1, q1, q0\n"                                                                                  \
                   "vshl.s32 q1, q1, q2\n"                                                                                  \
                   "vadd.i32 q1, q1, %[zero_point]\n"                                                                       \
                   "vmax.s32 q1, q1, %q[minimum]\n"                                                                         \
                   "vmin.s32 q1, q1, %q[maximum]\n" combine "vstrb.32 q1, [%[output]], #4\n"                                \
                   "letp lr, 1b\n"                                                                                          \
                   : [channels] "+r"(channels), [sums] "+r"(sums), [output] "+l"(output)                                    \
                   : [count] "r"(count), [bias_shift] "r"((int32_t)how->bias_shift), [acc_shift] "r"(-how->acc_shift),      \
                     [zero_point] "r"((int32_t)how->output_zero_point), [half] "w"(half), [shift] "w"(shift),               \
                     [minimum] "w"(minimum), [maximum] "w"(maximum)                                                         \
                   : "q0", "q1", "q2", "lr", "memory")

/* Four channels of all pixels, then the next four. `lanes`: how many of the four there are. */
static void requantize_four(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums, uint32_t lanes,
                            uint32_t between, uint32_t pixels, int8_t *output, uint32_t step) {
  const mve_pred16_t some = vctp32q(lanes);
  const uint32x4_t record = vldrwq_z_u32((const uint32_t *)(const void *)channels, some);
  const int32x4_t more = vreinterpretq_s32_u32(vshrq_n_u32(record, 28));
  const int32x4_t bias = vshlq_r_s32(vmovlbq_s16(vreinterpretq_s16_u32(record)), how->bias_shift);
  const uint32x4_t multiplier = vandq_u32(vshrq_n_u32(record, 16), vdupq_n_u32(0x0FFFu));
  const int32x4_t half = vshlq_s32(vdupq_n_s32((int32_t)(1u << (how->output_shift - 1u))), more);
  const int32x4_t shift = vsubq_s32(vdupq_n_s32(-how->output_shift), more);
  __asm__ volatile("vctp.32 %[lanes]\n"
                   "dls lr, %[pixels]\n"
                   "1: vpst\n"
                   "vldrwt.32 q0, [%[sums]]\n"
                   "vadd.i32 q0, q0, %q[bias]\n"
                   "add %[sums], %[between]\n"
                   "vshl.s32 q0, %[acc_shift]\n"
                   "vmul.i32 q0, q0, %q[multiplier]\n"
                   "vadd.i32 q0, q0, %q[half]\n"
                   "vshl.s32 q0, q0, %q[shift]\n"
                   "vadd.i32 q0, q0, %[zero_point]\n"
                   "vmax.s32 q0, q0, %q[minimum]\n"
                   "vmin.s32 q0, q0, %q[maximum]\n"
                   "vpst\n"
                   "vstrbt.32 q0, [%[output]]\n"
                   "add %[output], %[step]\n"
                   "le lr, 1b\n"
                   : [sums] "+r"(sums), [output] "+l"(output)
                   : [lanes] "r"(lanes), [pixels] "r"(pixels), [between] "r"(between), [step] "r"(step),
                     [acc_shift] "r"(-how->acc_shift), [zero_point] "r"((int32_t)how->output_zero_point), [bias] "w"(bias),
                     [multiplier] "w"(multiplier), [half] "w"(half), [shift] "w"(shift),
                     [minimum] "w"(vdupq_n_s32(how->output_min)), [maximum] "w"(vdupq_n_s32(how->output_max))
                   : "q0", "lr", "memory");
}

LUTRA_OUT_OF_LINE static void requantize_pixel(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums,
                                               uint32_t count, int8_t *output) {
  REQUANTIZE("");
}

void lutra_requantize_mve(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums, uint32_t count,
                          uint32_t pixels, int8_t *output, uint32_t step) {
  if (pixels == 1u) {
    requantize_pixel(how, channels, sums, count, output);
    return;
  }
  for (uint32_t n = 0u; n < count; n += 4u) {
    requantize_four(how, channels + n, sums + n, count - n, 4u * count, pixels, output + n, step);
  }
}

void lutra_requantize_max_mve(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums,
                              uint32_t count, int8_t *output) {
  REQUANTIZE("vldrb.s32 q0, [%[output]]\n"
             "vmax.s32 q1, q1, q0\n");
}
#endif
