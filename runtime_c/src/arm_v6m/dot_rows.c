/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V6M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* naked functions find theirs in registers */

#define ROWS 4u /* that share the reads of x */

/* r0 end of x, r1 minus what is left of it, r2 product, r3 value of x, r4-r7 ends of rows, r8-r11 sums. */
#define ROW(weights, sum)            \
  "ldrsb r2, [" weights ", r1]\n"    \
  "muls r2, r3\n"                    \
  "add " sum ", r2\n"

static LUTRA_NAKED void dot_four(const int8_t *x_end, uint32_t minus_length, const int8_t *const *row_ends,
                                                      uint32_t *sums) {
  __asm__ volatile(".syntax unified\n"
                   "push {r3-r7, lr}\n"
                   LUTRA_PUSH_R8_R11
                   "movs r3, #0\n"
                   "mov r8, r3\n"
                   "mov r9, r3\n"
                   "mov r10, r3\n"
                   "mov r11, r3\n"
                   "ldm r2!, {r4-r7}\n"
                   "1: ldrsb r3, [r0, r1]\n"
                   ROW("r4", "r8") ROW("r5", "r9") ROW("r6", "r10") ROW("r7", "r11")
                   "adds r1, #1\n"
                   "bne 1b\n"
                   "ldr r0, [sp, #16]\n"
                   "mov r4, r8\n"
                   "mov r5, r9\n"
                   "mov r6, r10\n"
                   "mov r7, r11\n"
                   "stm r0!, {r4-r7}\n"
                   LUTRA_POP_R8_R11
                   "pop {r3-r7, pc}\n");
}

void lutra_dot_rows_v6m(const int8_t *weights, const int8_t *x, uint32_t length, uint32_t rows, uint32_t *sums) {
  while (rows > 0u) {
    const int8_t *ends[ROWS];
    uint32_t four[ROWS], n = 0u;
    for (uint32_t i = 0u; i < ROWS; i++) {
      weights += i < rows ? length : 0u; /* the last row stands for those that lack */
      ends[i] = weights;
    }
    dot_four(x + length, 0u - length, ends, four);
    for (; n < ROWS && rows > 0u; rows--) {
      *sums++ = four[n++];
    }
  }
}

#endif
