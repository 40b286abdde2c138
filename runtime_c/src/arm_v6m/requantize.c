/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V6M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* naked functions find theirs in registers */

/* r0 output, r1 channels, r2 sums, r6 bias_shift, r7 acc_shift, r8 1 << (output_shift - 1), r9 output_shift,
 * r10 zero point - minimum, r11 maximum - minimum, r12 minimum, lr end of sums. To r3: an output; all but the last step is done
 * relative to the minimum, where clamping takes no branch below and one above. Not `asrs` and the carry: sums may wrap. */
#define OUTPUT              \
  "ldm r1!, {r4}\n"         \
  "ldm r2!, {r3}\n"         \
  "sxth r5, r4\n"           \
  "lsls r5, r6\n"           \
  "adds r3, r5\n"           \
  "asrs r3, r7\n"           \
  "lsrs r5, r4, #28\n"      \
  "lsls r4, r4, #4\n"       \
  "lsrs r4, r4, #20\n"      \
  "muls r3, r4\n"           \
  "mov r4, r8\n"            \
  "lsls r4, r5\n"           \
  "adds r3, r4\n"           \
  "add r5, r9\n"            \
  "asrs r3, r5\n"           \
  "add r3, r10\n"           \
  "asrs r4, r3, #31\n"      \
  "bics r3, r4\n"           \
  "cmp r3, r11\n"           \
  "bhi 2f\n"

/* How a channel's output in r3 is stored. */
#define STORE "strb r3, [r0]\n"
#define STORE_MAX           \
  "movs r4, #0\n"           \
  "ldrsb r4, [r0, r4]\n"    \
  "cmp r3, r4\n"            \
  "ble 4f\n"                \
  "strb r3, [r0]\n"         \
  "4:\n"

#define NEXT(store)         \
  "add r3, r12\n"           \
  store                     \
  "adds r0, #1\n"           \
  "cmp r2, lr\n"            \
  "bne 1b\n"

#define FUNCTION(store)                  \
  __asm__ volatile(".syntax unified\n"   \
                   "push {r4-r7, lr}\n"  \
                   "mov r4, r8\n"        \
                   "mov r5, r9\n"        \
                   "mov r6, r10\n"       \
                   "mov r7, r11\n"       \
                   "push {r4-r7}\n"      \
                   "lsls r3, #2\n"       \
                   "adds r3, r2\n"       \
                   "mov lr, r3\n"        \
                   "ldrb r6, [r0, #0]\n" /* lutra_requantization */ \
                   "ldrb r7, [r0, #1]\n" \
                   "ldrb r4, [r0, #2]\n" \
                   "mov r9, r4\n"        \
                   "subs r4, #1\n"       \
                   "movs r3, #1\n"       \
                   "lsls r3, r4\n"       \
                   "mov r8, r3\n"        \
                   "movs r4, #4\n"       \
                   "ldrsb r3, [r0, r4]\n" \
                   "mov r12, r3\n"       \
                   "movs r4, #3\n"       \
                   "ldrsb r4, [r0, r4]\n" \
                   "subs r4, r3\n"       \
                   "mov r10, r4\n"       \
                   "movs r4, #5\n"       \
                   "ldrsb r4, [r0, r4]\n" \
                   "subs r4, r3\n"       \
                   "mov r11, r4\n"       \
                   "ldr r0, [sp, #36]\n" \
                   "1:\n" OUTPUT         \
                   NEXT(store)           \
                   "b 3f\n"              \
                   "2: mov r3, r11\n"    \
                   NEXT(store)           \
                   "3: pop {r4-r7}\n"    \
                   "mov r8, r4\n"        \
                   "mov r9, r5\n"        \
                   "mov r10, r6\n"       \
                   "mov r11, r7\n"       \
                   "pop {r4-r7, pc}\n")

LUTRA_NAKED void lutra_requantize_max_v6m(const lutra_requantization *how, const lutra_channel *channels,
                                                     const uint32_t *sums, uint32_t count, int8_t *output) {
  FUNCTION(STORE_MAX);
}

static LUTRA_NAKED void requantize_pixel(const lutra_requantization *how, const lutra_channel *channels,
                                                              const uint32_t *sums, uint32_t count, int8_t *output) {
  FUNCTION(STORE);
}

void lutra_requantize_v6m(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums, uint32_t count,
                          uint32_t pixels, int8_t *output, uint32_t step) {
  for (; pixels > 0u; pixels--) {
    requantize_pixel(how, channels, sums, count, output);
    sums += count;
    output += step;
  }
}

#endif
