/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V6M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* naked functions find theirs in registers */

/* An entry is the word (b << 16) + a, a of either sign. So a is the lower half, b the upper one plus bit 15, which is what an
 * arithmetic shift by 16 leaves in the carry. With S the sum of a row's entries and H the sum of their halves b, the sum of their
 * halves a is S - (H << 16), whatever wraps.
 *
 * Rows of up to eight lookups, by jumping into a sequence of eight:
 * r0 offsets, r1 tables, r2 a, r3 b, r4 S, r5 H, r6 entries, r7 an entry, r8 where to jump, r12 end of a, lr bytes of a row.
 * One row at a time, in order: `b` may be `a` of a later row. */
#define LOAD(i)                     \
  "ldrh r6, [r0, #2 * " #i "]\n"    \
  "ldr r6, [r1, r6]\n"
#define SPLIT        \
  "adds r4, r6\n"    \
  "asrs r6, #16\n"   \
  "adcs r5, r6\n"
#define EXACT(i) LOAD(i) SPLIT
#define ROW(begin)     \
  "lsls r6, r5, #16\n" \
  "subs r4, r6\n"      \
  "stm r2!, {r4}\n"    \
  "ldr r4, [r3]\n"     \
  "adds r4, r5\n"      \
  "stm r3!, {r4}\n"    \
  "add r0, lr\n"       \
  "cmp r2, r12\n"      \
  "beq 9f\n"           \
  "8: ldr r4, [r2]\n"  \
  "movs r5, #0\n" begin \
  "bx r8\n"

/* To add entries before they are split pays only where there are few of them: below. */
LUTRA_NAKED void lutra_add_pixel_lookups_v6m(const uint16_t *offsets, uint32_t count, const uint32_t *tables,
                                                        uint32_t packed, uint32_t *a, uint32_t *b, uint32_t rows) {
  __asm__ volatile(".syntax unified\n"
                   "push {r0-r7, lr}\n"
                   "mov r4, r8\n"
                   "push {r4}\n" /* [sp, #4]: offsets, count, tables; [sp, #40]: a, b, rows */
                   "lsls r4, r1, #1\n"
                   "mov lr, r4\n"
                   "7: movs r1, r2\n" /* up to eight lookups of each row */
                   "add r2, sp, #40\n"
                   "ldm r2, {r2, r3, r5}\n"
                   "lsls r5, #2\n"
                   "adds r5, r2\n"
                   "mov r12, r5\n"
                   "ldr r0, [sp, #4]\n"
                   "ldr r5, [sp, #8]\n"
                   "movs r4, #8\n"
                   "subs r4, r5\n" /* lookups to skip */
                   "bpl 1f\n"
                   "movs r4, #0\n"
                   "1: lsls r6, r4, #1\n"
                   "subs r0, r6\n"
                   "adr r5, 2f\n"
                   "adds r5, #1\n"
                   "movs r6, #10\n" /* bytes a lookup */
                   "muls r6, r4\n"
                   "adds r5, r6\n"
                   "mov r8, r5\n"
                   "b 8f\n"
                   ".balign 4\n"
                   "2:\n"
                   EXACT(0) EXACT(1) EXACT(2) EXACT(3) EXACT(4) EXACT(5) EXACT(6) EXACT(7)
                   ROW("")
                   "9: movs r2, r1\n"
                   "ldr r4, [sp, #4]\n"
                   "adds r4, #16\n"
                   "str r4, [sp, #4]\n"
                   "ldr r5, [sp, #8]\n"
                   "subs r5, #8\n"
                   "str r5, [sp, #8]\n"
                   "bgt 7b\n"
                   "pop {r4}\n"
                   "mov r8, r4\n"
                   "add sp, #16\n"
                   "pop {r4-r7, pc}\n");
}

/* Up to four lookups of each row at a time, in the same way. */
#define LOAD_NEAR(entry, i)              \
  "ldrb " entry ", [r0, #" #i "]\n"      \
  "ldr " entry ", [r1, " entry "]\n"
#define EXACT_NEAR(i) LOAD_NEAR("r6", i) SPLIT
#define ADD_NEAR(i) LOAD_NEAR("r7", i) "adds r6, r7\n"

LUTRA_NAKED void lutra_add_near_lookups_v6m(const uint8_t *offsets, uint32_t count, const uint32_t *tables,
                                                       uint32_t packed, uint32_t *a, uint32_t *b, uint32_t rows) {
  __asm__ volatile(".syntax unified\n"
                   "push {r0-r7, lr}\n"
                   "mov r4, r8\n"
                   "push {r4}\n" /* [sp, #4]: offsets, count, tables, packed; [sp, #40]: a, b, rows */
                   "mov lr, r1\n"
                   "7: movs r1, r2\n"
                   "add r2, sp, #40\n"
                   "ldm r2, {r2, r3, r5}\n"
                   "lsls r5, #2\n"
                   "adds r5, r2\n"
                   "mov r12, r5\n"
                   "ldr r0, [sp, #4]\n"
                   "ldr r5, [sp, #8]\n"
                   "movs r4, #4\n"
                   "subs r4, r5\n" /* lookups to skip */
                   "bpl 1f\n"
                   "movs r4, #0\n"
                   "1: subs r0, r4\n"
                   "adr r5, 2f\n"
                   "adds r5, #1\n"
                   "movs r6, #10\n" /* bytes a lookup */
                   "ldr r7, [sp, #16]\n"
                   "cmp r7, #0\n"
                   "beq 3f\n"
                   "adds r5, #66\n"
                   "movs r6, #6\n"
                   "3: muls r6, r4\n"
                   "adds r5, r6\n"
                   "mov r8, r5\n"
                   "b 8f\n"
                   ".balign 4\n"
                   "2:\n"
                   EXACT_NEAR(0) EXACT_NEAR(1) EXACT_NEAR(2) EXACT_NEAR(3)
                   ROW("movs r6, #0\n")
                   ADD_NEAR(0) ADD_NEAR(1) ADD_NEAR(2) ADD_NEAR(3) SPLIT
                   ROW("movs r6, #0\n")
                   "9: movs r2, r1\n"
                   "ldr r4, [sp, #4]\n"
                   "adds r4, #4\n"
                   "str r4, [sp, #4]\n"
                   "ldr r5, [sp, #8]\n"
                   "subs r5, #4\n"
                   "str r5, [sp, #8]\n"
                   "ble 6f\n"
                   "b 7b\n"
                   "6: pop {r4}\n"
                   "mov r8, r4\n"
                   "add sp, #16\n"
                   "pop {r4-r7, pc}\n");
}

#endif
