/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V7M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of naked functions */

/* r0 weights of the first row, r1 from row to row, r2 x, r4-r7 sums, r3 and r8-r12 and lr free. */
#if defined(__ARM_FEATURE_DSP)
#define VALUES 4
#define LOAD(weights, from) "ldr " #weights ", [r0" from "\n"
#define LOAD_X "ldr r8, [r2], #4\n"
#define NEXT "], #4"
#define EXPAND_X "sxtb16 r3, r8\nsxtb16 r8, r8, ror #8\n"
#define ADD(sum, weights)                       \
  "sxtb16 lr, " #weights "\n"                   \
  "smlad " #sum ", lr, r3, " #sum "\n"          \
  "sxtb16 " #weights ", " #weights ", ror #8\n" \
  "smlad " #sum ", " #weights ", r8, " #sum "\n"
#else
#define VALUES 1
#define LOAD(weights, from) "ldrsb " #weights ", [r0" from "\n"
#define LOAD_X "ldrsb r8, [r2], #1\n"
#define NEXT "], #1"
#define EXPAND_X
#define ADD(sum, weights) "mla " #sum ", " #weights ", r8, " #sum "\n"
#endif
#define STEP_2 LOAD_X LOAD(r10, ", r1]") LOAD(r9, NEXT) EXPAND_X ADD(r4, r9) ADD(r5, r10)
#define STEP_4(compare)                                                                                              \
  LOAD_X LOAD(r10, ", r1]") LOAD(r11, ", r1, lsl #1]") LOAD(r12, ", r1, lsl #2]") LOAD(r9, NEXT) compare EXPAND_X    \
      ADD(r4, r9) ADD(r5, r10) ADD(r6, r11) ADD(r7, r12)
#define STRING_OF(x) #x
#define STRING(x) STRING_OF(x)

/* Dot products of four rows, at 0, 1, 2 and 4 times `stride`, with steps * VALUES values of x, to sums at 0, 1, 2 and 4 times
 * sum_stride: seen from the first and from the last of eight rows these are all eight, and need the fewest registers.
 * At sp: steps, then where x ends; sums and sum_stride at sp + 40. */
LUTRA_NAKED static void dot_4(const int8_t *weights, int32_t stride, const int8_t *x, uint32_t steps, uint32_t *sums,
                                         int32_t sum_stride) {
  __asm__ volatile(".syntax unified\n"
                   "push {r3-r11, lr}\n"
                   "movs r4, #0\n"
                   "movs r5, #0\n"
                   "movs r6, #0\n"
                   "movs r7, #0\n"
                   "ands r8, r3, #3\n"
                   "b 2f\n"
                   "1:\n" STEP_4("")
                   "ldr r3, [sp]\n"
                   "subs r3, #1\n"
                   "str r3, [sp]\n"
                   "ands r8, r3, #3\n"
                   "2: bne 1b\n"
                   "add r3, r2, r3, lsl #" STRING(VALUES) " / 2\n"
                   "str r3, [sp]\n"
                   "cmp r2, r3\n"
                   "b 4f\n"
                   "3:\n" STEP_4("") STEP_4("") STEP_4("") STEP_4("ldr r3, [sp]\ncmp r2, r3\n")
                   "4: bne 3b\n"
                   "ldrd r0, r1, [sp, #40]\n"
                   "str r4, [r0]\n"
                   "str r5, [r0, r1]\n"
                   "str r6, [r0, r1, lsl #1]\n"
                   "str r7, [r0, r1, lsl #2]\n"
                   "pop {r3-r11, pc}\n");
}

/* The same of the first two of them. At sp + 32: sums and sum_stride. */
LUTRA_NAKED static void dot_2(const int8_t *weights, uint32_t stride, const int8_t *x, uint32_t steps, uint32_t *sums,
                                         uint32_t sum_stride) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r10, lr}\n"
                   "movs r4, #0\n"
                   "movs r5, #0\n"
                   "movs r6, r3\n"
                   "b 2f\n"
                   "1:\n" STEP_2
                   "subs r6, #1\n"
                   "2: bne 1b\n"
                   "ldrd r0, r1, [sp, #32]\n"
                   "str r5, [r0, r1]\n"
                   "str r4, [r0]\n"
                   "pop {r4-r10, pc}\n");
}

/* Eight rows at a time; where they do not divide `rows`, the last eight are in part computed again. */
void lutra_dot_rows_v7m(const int8_t *weights, const int8_t *x, uint32_t length, uint32_t rows, uint32_t *sums) {
  const uint32_t steps = length / VALUES;
  for (uint32_t n = 0u; n < rows; n += rows < 8u ? 2u : 8u) {
    n = rows < 8u || n <= rows - 8u ? n : rows - 8u;
    const int8_t *const row = weights + n * length;
    if (rows < 8u) {
      const uint32_t more = n + 1u < rows;
      dot_2(row, more * length, x, steps, sums + n, more * 4u);
    } else {
      dot_4(row, (int32_t)length, x, steps, sums + n, 4);
      dot_4(row + 7u * length, -(int32_t)length, x, steps, sums + n + 7, -4);
    }
  }
#if VALUES > 1
  for (uint32_t i = steps * VALUES; i < length; i++) {
    for (uint32_t n = 0u; n < rows; n++) {
      sums[n] += (uint32_t)(weights[n * length + i] * x[i]);
    }
  }
#endif
}

#endif
