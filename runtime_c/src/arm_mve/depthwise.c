/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

/* Sixteen channels at once, the four vectors of sums in registers; then four at a time, the last ones under a predicate. */
void lutra_depthwise_mve(const int8_t *input, uint32_t input_stride, const int8_t *weights, uint32_t weights_stride,
                         uint32_t height, uint32_t width, uint32_t channels, uint32_t *sums) {
  input_stride -= width * channels;
  weights_stride -= width * channels;
  for (uint32_t left = channels, step; left > 0u; left -= step) {
    const int8_t *x = input, *w = weights;
    uint32_t rows = height;
    if (left >= 16u) {
      step = 16u;
      __asm__ volatile("vldrw.32 q4, [%[sums]]\n"
                       "vldrw.32 q5, [%[sums], #16]\n"
                       "vldrw.32 q6, [%[sums], #32]\n"
                       "vldrw.32 q7, [%[sums], #48]\n"
                       "1: dls lr, %[width]\n"
                       "2: vldrb.s32 q0, [%[x]]\n"
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
                       "vadd.i32 q7, q7, q2\n"
                       "le lr, 2b\n"
                       "add %[x], %[x_step]\n"
                       "add %[w], %[w_step]\n"
                       "subs %[rows], #1\n"
                       "bne 1b\n"
                       "vstrw.32 q4, [%[sums]], #16\n"
                       "vstrw.32 q5, [%[sums]], #16\n"
                       "vstrw.32 q6, [%[sums]], #16\n"
                       "vstrw.32 q7, [%[sums]], #16\n"
                       : [x] "+l"(x), [w] "+l"(w), [rows] "+r"(rows), [sums] "+r"(sums)
                       : [width] "r"(width), [channels] "r"(channels), [x_step] "r"(input_stride), [w_step] "r"(weights_stride)
                       : "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "lr", "cc", "memory");
    } else {
      step = left < 4u ? left : 4u;
      __asm__ volatile("vctp.32 %[left]\n"
                       "vpst\n"
                       "vldrwt.32 q2, [%[sums]]\n"
                       "1: dls lr, %[width]\n"
                       "2: vpstt\n"
                       "vldrbt.s32 q0, [%[x]]\n"
                       "vldrbt.s32 q1, [%[w]]\n"
                       "vmul.i32 q0, q0, q1\n"
                       "add %[x], %[channels]\n"
                       "add %[w], %[channels]\n"
                       "vadd.i32 q2, q2, q0\n"
                       "le lr, 2b\n"
                       "add %[x], %[x_step]\n"
                       "add %[w], %[w_step]\n"
                       "subs %[rows], #1\n"
                       "bne 1b\n"
                       "vpst\n"
                       "vstrwt.32 q2, [%[sums]], #16\n"
                       : [x] "+l"(x), [w] "+l"(w), [rows] "+r"(rows), [sums] "+r"(sums)
                       : [width] "r"(width), [channels] "r"(channels), [x_step] "r"(input_stride), [w_step] "r"(weights_stride),
                         [left] "r"(left)
                       : "q0", "q1", "q2", "lr", "cc", "memory");
    }
    input += step;
    weights += step;
  }
}
#endif
