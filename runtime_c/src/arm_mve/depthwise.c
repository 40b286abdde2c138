/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__GNUC__) && !defined(__clang__) && !defined(__OPTIMIZE__)
#pragma GCC optimize("O1") /* -O0 leaves too few registers to the assembly below */
#endif
#include "../loops.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

/* Sums of a window: sixteen channels at once, the four vectors of sums in registers; then four at a time, the last ones under a
 * predicate. */
LUTRA_OUT_OF_LINE static void sum_window(const lutra_windows *windows, const int8_t *input, uint32_t *sums) {
  const uint32_t channels = windows->channels, width = windows->width, next_row = windows->row - width * channels;
  const int8_t *weights = windows->weights;
  const uint32_t *begin = windows->begin;
  for (uint32_t left = channels, step; left > 0u; left -= step) {
    const int8_t *x = input, *w = weights;
    uint32_t rows = windows->height;
    if (left >= 16u) {
      step = 16u;
      __asm__ volatile("vldrw.32 q4, [%[begin]], #16\n"
                       "vldrw.32 q5, [%[begin]], #16\n"
                       "vldrw.32 q6, [%[begin]], #16\n"
                       "vldrw.32 q7, [%[begin]], #16\n"
                       "vmov.i32 q2, #0\n" /* products that a tap leaves to the next one */
                       "1: dls lr, %[width]\n"
                       "2: vldrb.s32 q0, [%[x]]\n"
                       "vadd.i32 q7, q7, q2\n"
                       "vldrb.s32 q1, [%[w]]\n"
                       "vmul.i32 q0, q0, q1\n"
                       "vldrb.s32 q2, [%[x], #4]\n"
                       "vadd.i32 q4, q4, q0\n"
                       "vldrb.s32 q3, [%[w], #4]\n"
                       "vmul.i32 q2, q2, q3\n"
                       "vldrb.s32 q0, [%[x], #8]\n"
                       "vadd.i32 q5, q5, q2\n"
                       "vldrb.s32 q1, [%[w], #8]\n"
                       "vmul.i32 q0, q0, q1\n"
                       "vldrb.s32 q2, [%[x], #12]\n"
                       "vadd.i32 q6, q6, q0\n"
                       "vldrb.s32 q3, [%[w], #12]\n"
                       "vmul.i32 q2, q2, q3\n"
                       "add %[x], %[channels]\n"
                       "add %[w], %[channels]\n"
                       "le lr, 2b\n"
                       "add %[x], %[next_row]\n"
                       "subs %[rows], #1\n"
                       "bne 1b\n"
                       "vstrw.32 q4, [%[sums]], #16\n"
                       "vadd.i32 q7, q7, q2\n"
                       "vstrw.32 q5, [%[sums]], #16\n"
                       "vstrw.32 q6, [%[sums]], #16\n"
                       "vstrw.32 q7, [%[sums]], #16\n"
                       : [x] "+l"(x), [w] "+l"(w), [rows] "+r"(rows), [sums] "+r"(sums), [begin] "+r"(begin)
                       : [width] "r"(width), [channels] "r"(channels), [next_row] "r"(next_row)
                       : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "lr", "cc", "memory");
    } else {
      step = left < 4u ? left : 4u;
      const mve_pred16_t some = vctp32q(left);
      uint32x4_t sum = vldrwq_z_u32(begin, some);
      __asm__ volatile("vctp.32 %[left]\n"
                       "1: dls lr, %[width]\n"
                       "2: vpstt\n"
                       "vldrbt.s32 q0, [%[x]]\n"
                       "vldrbt.s32 q1, [%[w]]\n"
                       "vmul.i32 q0, q0, q1\n"
                       "add %[x], %[channels]\n"
                       "add %[w], %[channels]\n"
                       "vadd.i32 %q[sum], %q[sum], q0\n"
                       "le lr, 2b\n"
                       "add %[x], %[next_row]\n"
                       "subs %[rows], #1\n"
                       "bne 1b\n"
                       : [x] "+l"(x), [w] "+l"(w), [rows] "+r"(rows), [sum] "+w"(sum)
                       : [width] "r"(width), [channels] "r"(channels), [next_row] "r"(next_row), [left] "r"(left)
                       : "q0", "q1", "lr", "cc", "memory");
      vstrwq_p_u32(sums, sum, some);
      sums += step;
      begin += step;
    }
    input += step;
    weights += step;
  }
}

void lutra_depthwise_mve(const lutra_windows *windows, const int8_t *input, uint32_t pixels, int8_t *output) {
  for (uint32_t count; pixels > 0u; pixels -= count) {
    uint32_t *sums = windows->sums;
    count = pixels < LUTRA_LINE_PIXELS ? pixels : LUTRA_LINE_PIXELS;
    for (uint32_t p = 0u; p < count; p++) {
      sum_window(windows, input, sums);
      sums += windows->channels;
      input += windows->input_step;
    }
    lutra_requantize_mve(windows->how, windows->records, windows->sums, windows->channels, count, output, windows->output_step);
    output += count * windows->output_step;
  }
}
#endif
