/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V6M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* naked functions find theirs in registers */

/* Two channels at a time; before them, if their number is odd, the first one, twice.
 * r0 input and r2 weights, both at the end of a row of the window; r1 minus what is left of the row, r3, r4 values, r5 from the second
 * channel of a position to the first of the next one, r6 rows left, r7 minus a row of the window, r8, r9 sums, r10 from channel to
 * channel: 1 or 0, r11 `sums`, r12 input_stride, lr weights_stride. */
#define TAP(sum)          \
  "ldrsb r3, [r0, r1]\n"  \
  "ldrsb r4, [r2, r1]\n"  \
  "muls r3, r4\n"         \
  "add " sum ", r3\n"

static LUTRA_NAKED void add_window(const int8_t *input, uint32_t input_stride, const int8_t *weights,
                                                        uint32_t weights_stride, uint32_t height, uint32_t width,
                                                        uint32_t channels, uint32_t *sums) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r7, lr}\n"
                   LUTRA_PUSH_R8_R11
                   "mov r12, r1\n"
                   "mov lr, r3\n"
                   "add r3, sp, #36\n"
                   "ldm r3, {r3-r6}\n" /* height, width, channels, sums */
                   "mov r11, r6\n"
                   "movs r7, r5\n"
                   "muls r7, r4\n"
                   "adds r0, r7\n"
                   "adds r2, r7\n"
                   "negs r7, r7\n"
                   "lsls r4, r5, #2\n"
                   "adds r6, r4\n"
                   "push {r0, r2, r3, r5, r6}\n" /* input, weights, height, channels, end of sums */
                   "movs r4, #1\n"
                   "bics r4, r5\n"
                   "mov r10, r4\n"
                   "1: mov r4, r10\n" /* two channels */
                   "ldr r6, [sp, #8]\n"
                   "ldr r5, [sp, #12]\n"
                   "subs r5, r4\n"
                   "movs r3, #0\n"
                   "mov r8, r3\n"
                   "mov r9, r3\n"
                   "2: movs r1, r7\n" /* a row */
                   "3:\n" TAP("r8")
                   "add r1, r10\n" TAP("r9")
                   "adds r1, r5\n"
                   "bne 3b\n"
                   "add r0, r12\n"
                   "add r2, lr\n"
                   "subs r6, #1\n"
                   "bne 2b\n"
                   "mov r1, r11\n"
                   "mov r4, r10\n"
                   "cmp r4, #0\n"
                   "beq 4f\n"
                   "ldr r3, [r1]\n"
                   "add r3, r8\n"
                   "stm r1!, {r3}\n"
                   "4: ldr r3, [r1]\n"
                   "add r3, r9\n"
                   "stm r1!, {r3}\n"
                   "mov r11, r1\n"
                   "pop {r0, r2}\n"
                   "adds r4, #1\n"
                   "adds r0, r4\n"
                   "adds r2, r4\n"
                   "push {r0, r2}\n"
                   "movs r4, #1\n"
                   "mov r10, r4\n"
                   "ldr r3, [sp, #16]\n"
                   "cmp r1, r3\n"
                   "bne 1b\n"
                   "add sp, #20\n"
                   LUTRA_POP_R8_R11
                   "pop {r4-r7, pc}\n");
}

void lutra_depthwise_v6m(const lutra_windows *windows, const int8_t *input, uint32_t pixels, int8_t *output) {
  const uint32_t channels = windows->channels;
  for (; pixels > 0u; pixels--) {
    for (uint32_t c = 0u; c < channels; c++) {
      windows->sums[c] = windows->begin[c];
    }
    add_window(input, windows->row, windows->weights, windows->width * channels, windows->height, windows->width, channels,
               windows->sums);
    lutra_requantize_v6m(windows->how, windows->records, windows->sums, channels, 1u, output, 0u);
    input += windows->input_step;
    output += windows->output_step;
  }
}

#endif
