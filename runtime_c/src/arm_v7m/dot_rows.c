/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V7M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of naked functions */

#define ROWS 4u /* that share the reads of x */

/* r0 weights of the first two rows, r12 of the other two, r1 from row to row, r2 x, r11 its end, r4-r7 sums, r3, r8-r10 and lr free. */
#if defined(__ARM_FEATURE_DSP)
#define VALUES 4u
#define LOAD(weights) "ldr r10, [" weights ", r1]\nldr r9, [" weights "], #4\n"
#define ADD(sum, weights)                    \
  "sxtb16 lr, " weights "\n"                 \
  "smlad " sum ", lr, r3, " sum "\n"         \
  "sxtb16 " weights ", " weights ", ror #8\n" \
  "smlad " sum ", " weights ", r8, " sum "\n"
#define STEPS                                                                                                   \
  "ldr r8, [r2], #4\n" LOAD("r0") "sxtb16 r3, r8\nsxtb16 r8, r8, ror #8\n" ADD("r4", "r9") ADD("r5", "r10")     \
  LOAD("r12") ADD("r6", "r9") ADD("r7", "r10")
#else
#define VALUES 2u
#define LOAD(weights) "ldrsb r10, [" weights ", r1]\nldrsb r9, [" weights "], #1\n"
#define ADD(sum, weights) "mla " sum ", " weights ", r8, " sum "\n"
#define STEP "ldrsb r8, [r2], #1\n" LOAD("r0") ADD("r4", "r9") ADD("r5", "r10") LOAD("r12") ADD("r6", "r9") ADD("r7", "r10")
#define STEPS STEP STEP
#endif

/* Dot products of four rows with `bytes` values of x, whole steps. At sp + 36: stride and sums. */
LUTRA_NAKED static void dot_four(const int8_t *weights, const int8_t *third, const int8_t *x, uint32_t bytes, uint32_t stride,
                                 uint32_t *sums) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "mov r12, r1\n"
                   "ldr r1, [sp, #36]\n"
                   "add r11, r2, r3\n"
                   "movs r4, #0\n"
                   "movs r5, #0\n"
                   "movs r6, #0\n"
                   "movs r7, #0\n"
                   "b 2f\n"
                   "1:\n" STEPS
                   "2: cmp r2, r11\n"
                   "bne 1b\n"
                   "ldr r0, [sp, #40]\n"
                   "stm r0, {r4-r7}\n"
                   "pop {r4-r11, pc}\n");
}

/* Four rows at a time; of those that are left two, twice, or one. */
void lutra_dot_rows_v7m(const int8_t *weights, const int8_t *x, uint32_t length, uint32_t rows, uint32_t *sums) {
  const uint32_t whole = length - length % VALUES;
  for (uint32_t taken; rows > 0u; rows -= taken) {
    uint32_t four[ROWS];
    taken = rows >= ROWS ? ROWS : rows >= 2u ? 2u : 1u;
    dot_four(weights, rows >= ROWS ? weights + 2u * length : weights, x, whole, rows > 1u ? length : 0u, four);
    for (uint32_t n = 0u; n < taken; n++) {
      uint32_t sum = four[n];
      for (uint32_t i = whole; i < length; i++) {
        sum += (uint32_t)(weights[i] * x[i]);
      }
      *sums++ = sum;
      weights += length;
    }
  }
}

#endif
