/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V7M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of naked functions */

#if defined(__ARM_FEATURE_DSP)
#define SUM(entries) "sadd16 r3, " #entries ", r2\nstr r3, [r1], #4\n"

/* r4-r11 hold all entries that the low index selects from, r0 goes over those of the high one, r1 over pairs. */
LUTRA_NAKED void lutra_build_pair_tables_v7m(const int16_t *tables, int16_t *pairs) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "add r12, r1, #4 * 512\n"
                   "1: ldm r0!, {r4-r11}\n"
                   "add lr, r0, #32\n"
                   "2: ldrsh r2, [r0], #2\n"
                   "cmp r0, lr\n"
                   "pkhbt r2, r2, r2, lsl #16\n"
                   SUM(r4) SUM(r5) SUM(r6) SUM(r7) SUM(r8) SUM(r9) SUM(r10) SUM(r11)
                   "bne 2b\n"
                   "cmp r1, r12\n"
                   "bne 1b\n"
                   "pop {r4-r11, pc}\n");
}
#else
#define ENTRY(entry, at) "ldrsh " #entry ", [r0, #" #at "]\n"
#define SUM(entry, at) "add r3, " #entry ", r0\nstrh r3, [r2, #" #at "]\n"

/* The pairs of eight entries that the low index selects from, in r4-r11. */
LUTRA_NAKED static void build_half(const int16_t *low, const int16_t *high, int16_t *pairs) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   ENTRY(r4, 0) ENTRY(r5, 2) ENTRY(r6, 4) ENTRY(r7, 6) ENTRY(r8, 8) ENTRY(r9, 10) ENTRY(r10, 12) ENTRY(r11, 14)
                   "add r12, r1, #32\n"
                   "1: ldrsh r0, [r1], #2\n"
                   "cmp r1, r12\n"
                   SUM(r4, 0) SUM(r5, 2) SUM(r6, 4) SUM(r7, 6) SUM(r8, 8) SUM(r9, 10) SUM(r10, 12) SUM(r11, 14)
                   "add r2, #32\n"
                   "bne 1b\n"
                   "pop {r4-r11, pc}\n");
}

void lutra_build_pair_tables_v7m(const int16_t *tables, int16_t *pairs) {
  for (uint32_t i = 0u; i < LUTRA_GROUP / 2u; i++) {
    build_half(tables, tables + 16, pairs);
    build_half(tables + 8, tables + 16, pairs + 8);
    tables += 32;
    pairs += 256;
  }
}
#endif
#endif
