/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V6M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* naked functions find theirs in registers */

/* An entry is the word (b << 16) + a, a of either sign. So a is the lower half, b the upper one plus bit 15, which is what an
 * arithmetic shift by 16 leaves in the carry. With S the sum of a row's entries and H the sum of their halves b, the sum of their
 * halves a is S - (H << 16), whatever wraps.
 *
 * Rows of up to eight lookups, of up to four where offsets are bytes, by jumping into a sequence of as many:
 * r0 offsets, r1 tables, r2 a, r3 b, r4 S, r5 H, r6 entries, r7 an entry, r8 where to jump, r12 end of a, lr bytes of a row.
 * One row at a time, in order: `b` may be `a` of a later row. */
#define FAR(i)                      \
  "ldrh r6, [r0, #2 * " #i "]\n"    \
  "ldr r6, [r1, r6]\n" SPLIT
#define LOAD(entry, i)              \
  "ldrb " entry ", [r0, #" #i "]\n" \
  "ldr " entry ", [r1, " entry "]\n"
#define NEAR(i) LOAD("r6", i) SPLIT
#define SPLIT        \
  "adds r4, r6\n"    \
  "asrs r6, #16\n"   \
  "adcs r5, r6\n"
#define PACKED(i) LOAD("r7", i) "adds r6, r7\n" /* pays only where there are few */
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

LUTRA_NAKED void lutra_add_pixel_lookups_v6m(const void *offsets, uint32_t count, const uint32_t *tables, uint32_t form, uint32_t *a,
                                             uint32_t *b, uint32_t rows) {
  __asm__ volatile(".syntax unified\n"
                   "push {r0-r7, lr}\n"
                   "mov r4, r8\n"
                   "push {r4}\n" /* [sp, #4]: offsets, count, tables, form; [sp, #40]: a, b, rows */
                   "lsrs r3, #1\n"
                   "lsls r1, r3\n"
                   "mov lr, r1\n"
                   "7: movs r1, r2\n" /* a sweep over all rows */
                   "ldr r7, [sp, #16]\n"
                   "movs r4, #4\n" /* lookups */
                   "movs r6, #10\n" /* bytes of one */
                   "adr r5, 3f\n"
                   "cmp r7, #1\n"
                   "blo 1f\n"
                   "bhi 5f\n"
                   "adr r5, 4f\n"
                   "movs r6, #6\n"
                   "b 1f\n"
                   "5: adr r5, 2f\n"
                   "movs r4, #8\n"
                   "1: ldr r0, [sp, #8]\n"
                   "subs r4, r0\n" /* lookups to skip */
                   "asrs r0, r4, #31\n"
                   "bics r4, r0\n"
                   "muls r6, r4\n"
                   "adds r5, r6\n"
                   "adds r5, #1\n"
                   "mov r8, r5\n"
                   "ldr r0, [sp, #4]\n"
                   "lsrs r7, #1\n"
                   "lsls r4, r7\n"
                   "subs r0, r4\n"
                   "add r2, sp, #40\n"
                   "ldm r2, {r2, r3, r5}\n"
                   "lsls r5, #2\n"
                   "adds r5, r2\n"
                   "mov r12, r5\n"
                   "b 8f\n"
                   ".balign 4\n"
                   "2:\n" FAR(0) FAR(1) FAR(2) FAR(3) FAR(4) FAR(5) FAR(6) FAR(7)
                   ROW("movs r6, #0\n")
                   ".balign 4\n"
                   "3:\n" NEAR(0) NEAR(1) NEAR(2) NEAR(3)
                   ROW("")
                   ".balign 4\n"
                   "4:\n" PACKED(0) PACKED(1) PACKED(2) PACKED(3) SPLIT
                   ROW("movs r6, #0\n")
                   "9: movs r2, r1\n"
                   "ldr r7, [sp, #16]\n"
                   "lsrs r7, #1\n"
                   "movs r5, #4\n"
                   "lsls r5, r7\n"
                   "movs r6, r5\n"
                   "lsls r6, r7\n"
                   "ldr r4, [sp, #4]\n"
                   "adds r4, r6\n"
                   "str r4, [sp, #4]\n"
                   "ldr r4, [sp, #8]\n"
                   "subs r4, r5\n"
                   "str r4, [sp, #8]\n"
                   "ble 6f\n"
                   "b 7b\n"
                   "6: pop {r4}\n"
                   "mov r8, r4\n"
                   "add sp, #16\n"
                   "pop {r4-r7, pc}\n");
}

#endif
