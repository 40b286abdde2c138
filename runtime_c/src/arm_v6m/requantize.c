/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V6M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* naked functions find theirs in registers */

/* r0 output, r1 channels, r2 sums, r6 bias_shift, r7 acc_shift, r9 output_shift - 1, r10 2 * (zero point - minimum) + 1, which rounds
 * before the last position of the shift, r11 maximum - minimum, r12 minimum, lr end of sums. All but the last step is done relative to the
 * minimum, where clamping takes no branch below and one above. */
static LUTRA_NAKED void requantize_pixel(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums,
                                         uint32_t count, int8_t *output) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r7, lr}\n"
                   "mov r5, r9\n"
                   "mov r6, r10\n"
                   "mov r7, r11\n"
                   "push {r5-r7}\n"
                   "lsls r3, #2\n"
                   "adds r3, r2\n"
                   "mov lr, r3\n"
                   "movs r7, #0\n" /* lutra_requantization */
                   "ldrsb r4, [r0, r7]\n"
                   "movs r7, #1\n"
                   "ldrsb r3, [r0, r7]\n"
                   "mov r12, r3\n"
                   "subs r4, r3\n"
                   "lsls r4, #1\n"
                   "adds r4, #1\n"
                   "mov r10, r4\n"
                   "movs r7, #2\n"
                   "ldrsb r4, [r0, r7]\n"
                   "subs r4, r3\n"
                   "mov r11, r4\n"
                   "ldrb r6, [r0, #3]\n"
                   "ldrb r7, [r0, #4]\n"
                   "ldrb r4, [r0, #5]\n"
                   "subs r4, #1\n"
                   "mov r9, r4\n"
                   "ldr r0, [sp, #32]\n"
                   "1: ldm r1!, {r4}\n"
                   "ldm r2!, {r3}\n"
                   "sxth r5, r4\n"
                   "lsls r5, r6\n"
                   "adds r3, r5\n"
                   "asrs r3, r7\n"
                   "lsrs r5, r4, #28\n"
                   "lsls r4, r4, #4\n"
                   "lsrs r4, r4, #20\n"
                   "muls r3, r4\n"
                   "add r5, r9\n"
                   "asrs r3, r5\n"
                   "add r3, r10\n"
                   "asrs r3, r3, #1\n"
                   "asrs r4, r3, #31\n"
                   "bics r3, r4\n"
                   "cmp r3, r11\n"
                   "bls 2f\n"
                   "mov r3, r11\n"
                   "2: add r3, r12\n"
                   "strb r3, [r0]\n"
                   "adds r0, #1\n"
                   "cmp r2, lr\n"
                   "bne 1b\n"
                   "pop {r5-r7}\n"
                   "mov r9, r5\n"
                   "mov r10, r6\n"
                   "mov r11, r7\n"
                   "pop {r4-r7, pc}\n");
}

void lutra_requantize_v6m(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums, uint32_t count,
                          uint32_t pixels, int8_t *output, uint32_t step) {
  do {
    requantize_pixel(how, channels, sums, count, output);
    sums += count;
    output += step;
  } while (--pixels > 0u);
}

#endif
