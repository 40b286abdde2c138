/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

/* Of several pixels: four channels of all of them, then the next four; where they do not divide `count` >= 4, some of them again. */
static void requantize_pixels(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums, uint32_t count,
                              uint32_t pixels, int8_t *output, uint32_t step) {
  const int32x4_t minimum = vdupq_n_s32(how->output_min), maximum = vdupq_n_s32(how->output_max);
  const struct {
    int32x4_t shift;
    int32_t bias_shift;
    uint32_t pixels;
  } task = {vdupq_n_s32(-how->output_shift), how->bias_shift, pixels};
  int32_t word;
  for (uint32_t n = 0u; n < count; n += 4u) {
    n = n <= count - 4u ? n : count - 4u;
    const uint32_t *from = sums + n;
    int8_t *to = output + n;
    __asm__ volatile("vldrw.32 q0, [%[channels]]\n"
                     "ldrd %[word], lr, [%[task], #16]\n"
                     "vmovlb.s16 q1, q0\n" /* bias */
                     "vldrw.32 q2, [%[task]]\n"
                     "vshr.u32 q3, q0, #28\n"
                     "vshl.s32 q1, %[word]\n"
                     "vbic.i32 q0, #0xF0000000\n"
                     "dls lr, lr\n"
                     "vshr.u32 q0, q0, #16\n" /* multiplier */
                     "vsub.i32 q2, q2, q3\n"
                     "1: vldrw.32 q3, [%[from]]\n"
                     "vadd.i32 q3, q3, q1\n"
                     "add %[from], %[between]\n"
                     "vshl.s32 q3, %[acc_shift]\n"
                     "vmul.i32 q3, q3, q0\n"
                     "vrshl.s32 q3, q3, q2\n"
                     "vadd.i32 q3, q3, %[zero_point]\n"
                     "vmax.s32 q3, q3, %q[minimum]\n"
                     "vmin.s32 q3, q3, %q[maximum]\n"
                     "vstrb.32 q3, [%[to]]\n"
                     "add %[to], %[step]\n"
                     "le lr, 1b\n"
                     : [from] "+r"(from), [to] "+l"(to), [word] "=&r"(word)
                     : [channels] "r"(channels + n), [between] "r"(4u * count), [step] "r"(step), [acc_shift] "r"(-how->acc_shift),
                       [zero_point] "r"((int32_t)how->output_zero_point), [task] "r"(&task), [minimum] "w"(minimum),
                       [maximum] "w"(maximum)
                     : "q0", "q1", "q2", "q3", "lr", "memory");
  }
}

/* Four channels at a time. */
LUTRA_OUT_OF_LINE static void requantize_pixel(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums,
                                               uint32_t count, int8_t *output) {
  const int32x4_t minimum = vdupq_n_s32(how->output_min), maximum = vdupq_n_s32(how->output_max);
  const int32x4_t shift = vdupq_n_s32(-how->output_shift);
  __asm__ volatile("dlstp.32 lr, %[count]\n"
                   "1: vldrh.16 q0, [%[channels]], #16\n"
                   "vmovlb.s16 q1, q0\n"
                   "vldrw.32 q2, [%[sums]], #16\n"
                   "vshl.s32 q1, %[bias_shift]\n"
                   "vadd.i32 q1, q1, q2\n"
                   "vshr.u32 q2, q0, #28\n"
                   "vbic.i32 q0, #0xF0000000\n"
                   "vshl.s32 q1, %[acc_shift]\n"
                   "vshr.u32 q0, q0, #16\n"
                   "vmul.i32 q1, q1, q0\n"
                   "vsub.i32 q2, %q[shift], q2\n"
                   "vrshl.s32 q1, q1, q2\n"
                   "vadd.i32 q1, q1, %[zero_point]\n"
                   "vmax.s32 q1, q1, %q[minimum]\n"
                   "vmin.s32 q1, q1, %q[maximum]\n"
                   "vstrb.32 q1, [%[output]], #4\n"
                   "letp lr, 1b\n"
                   : [channels] "+r"(channels), [sums] "+r"(sums), [output] "+l"(output)
                   : [count] "r"(count), [bias_shift] "r"((int32_t)how->bias_shift), [acc_shift] "r"(-how->acc_shift),
                     [zero_point] "r"((int32_t)how->output_zero_point), [shift] "w"(shift), [minimum] "w"(minimum),
                     [maximum] "w"(maximum)
                   : "q0", "q1", "q2", "lr", "memory");
}

void lutra_requantize_mve(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums, uint32_t count,
                          uint32_t pixels, int8_t *output, uint32_t step) {
  if (pixels > 1u && count >= 4u) {
    requantize_pixels(how, channels, sums, count, pixels, output, step);
    return;
  }
  for (; pixels > 0u; pixels--) {
    requantize_pixel(how, channels, sums, count, output);
    sums += count;
    output += step;
  }
}
#endif
