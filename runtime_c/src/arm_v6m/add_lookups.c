/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V6M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* naked functions find theirs in registers */

/* Indices become offsets in bytes from `tables`, a few in a register: masked, doubled, and the tables' own offsets added.
 * r0 indices, r1 sums, r2 tables, r3 mask, r4 sum, r5-r7 offsets, r8-r11 what to add, r12 end of sums. */
#define LOOKUP(offset)                    \
  "ldrsh " offset ", [r2, " offset "]\n"  \
  "adds r4, " offset "\n"
#define HALVES(offsets)                   \
  "uxth r7, " offsets "\n"                \
  LOOKUP("r7")                            \
  "lsrs " offsets ", #16\n"               \
  LOOKUP(offsets)
#define BYTE(offsets)                     \
  "uxtb r7, " offsets "\n"                \
  "lsrs " offsets ", #8\n"                \
  LOOKUP("r7")
#define BYTES(offsets) BYTE(offsets) BYTE(offsets) BYTE(offsets) LOOKUP(offsets)
#define FOUR(even, odd)                   \
  "ldm r0!, {r5}\n"                       \
  "lsrs r6, r5, #7\n"                     \
  "lsls r5, #1\n"                         \
  "ands r5, r3\n"                         \
  "ands r6, r3\n"                         \
  "add r5, " even "\n"                    \
  "add r6, " odd "\n"                     \
  HALVES("r5") HALVES("r6")

/* Groups of eight, aligned indices. */
static LUTRA_NAKED void add_groups(const uint8_t *indices, uint32_t *sums, const int16_t *tables,
                                                        uint32_t codewords, const uint32_t *end, uint32_t index_bits) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r7, lr}\n"
                   LUTRA_PUSH_R8_R11
                   "ldr r4, [sp, #36]\n"
                   "mov r12, r4\n"
                   "lsls r4, r3, #1\n" /* bytes of a table, in both halves */
                   "lsls r5, r3, #17\n"
                   "adds r4, r5\n"
                   "lsls r5, #1\n"
                   "adds r6, r4, r5\n"
                   "lsls r4, #2\n"
                   "mov r8, r5\n"
                   "mov r9, r6\n"
                   "adds r5, r4\n"
                   "adds r6, r4\n"
                   "mov r10, r5\n"
                   "mov r11, r6\n"
                   "ldr r3, 4f\n"
                   "ldr r4, [sp, #40]\n"
                   "cmp r4, #4\n"
                   "beq 2f\n"
                   "1: ldr r4, [r1]\n"
                   FOUR("r8", "r9") FOUR("r10", "r11")
                   "stm r1!, {r4}\n"
                   "cmp r1, r12\n"
                   "bne 1b\n"
                   "b 9f\n"
                   "2: adr r3, 5f\n"
                   "ldm r3, {r3-r5}\n"
                   "mov r8, r4\n"
                   "mov r9, r5\n"
                   "3: ldr r4, [r1]\n"
                   "ldm r0!, {r5}\n"
                   "lsrs r6, r5, #3\n"
                   "lsls r5, #1\n"
                   "ands r5, r3\n"
                   "ands r6, r3\n"
                   "add r5, r8\n"
                   "add r6, r9\n"
                   BYTES("r5") BYTES("r6")
                   "stm r1!, {r4}\n"
                   "cmp r1, r12\n"
                   "bne 3b\n"
                   "9:\n"
                   LUTRA_POP_R8_R11
                   "pop {r4-r7, pc}\n"
                   ".balign 4\n"
                   "4: .word 0x01FE01FE\n"
                   "5: .word 0x1E1E1E1E, 0xC0804000, 0xE0A06020\n"); /* 16 codewords */
}

/* One table: `up` leaves an index on top, `down` moves it to the bottom. */
static LUTRA_NAKED void add_column(const uint8_t *indices, uint32_t row_bytes, uint32_t up, uint32_t down,
                                                        const int16_t *table, const uint32_t *end, uint32_t *sums) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r7, lr}\n"
                   "add r4, sp, #20\n"
                   "ldm r4, {r4-r6}\n"
                   "mov r12, r5\n"
                   "1: ldrb r7, [r0]\n"
                   "adds r0, r1\n"
                   "lsls r7, r2\n"
                   "lsrs r7, r3\n"
                   "lsls r7, #1\n"
                   "ldrsh r7, [r4, r7]\n"
                   "ldr r5, [r6]\n"
                   "adds r5, r7\n"
                   "stm r6!, {r5}\n"
                   "cmp r6, r12\n"
                   "bne 1b\n"
                   "pop {r4-r7, pc}\n");
}

void lutra_add_lookups_v6m(const uint8_t *indices, uint32_t index_bits, uint32_t codewords, const int16_t *tables, uint32_t count,
                           uint32_t *sums, uint32_t rows) {
  const uint32_t *const end = sums + rows;
  if (count == LUTRA_GROUP && ((uintptr_t)indices & 3u) == 0u && (index_bits == 8u || codewords == 16u)) {
    add_groups(indices, sums, tables, codewords, end, index_bits);
    return;
  }
  const uint32_t two = index_bits == 4u, row_bytes = (count + two) >> two, down = 32u - index_bits;
  for (uint32_t i = 0u; i < count; i++) {
    const uint32_t odd = i & two;
    add_column(indices + (i >> two), row_bytes, down - 4u * odd, down, tables, end, sums);
    tables += codewords;
  }
}

#endif
