/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V7M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of naked functions */

/* r0 goes over indices, lr over sums; r1-r4 are what is looked up in r5-r12. Of 4-bit indices three rows an iteration, the first time
 * as many as are more than a multiple of three. Loads that follow each other overlap. An index beyond its table reads what follows. */
#define INDEX(t, at) "ldrb " #t ", [r0, #" #at "]\n"
#define ENTRY(t, table) "ldrsh " #t ", [" #table ", " #t ", lsl #1]\n"

#define ROW_8                                                                                                \
  INDEX(r1, 0) INDEX(r2, 1) INDEX(r3, 2) INDEX(r4, 3)                                                        \
  ENTRY(r1, r5) ENTRY(r2, r6) ENTRY(r3, r7) ENTRY(r4, r8) "add r1, r2\nadd r3, r4\nadd r1, r3\n"             \
  INDEX(r2, 4) INDEX(r3, 5) INDEX(r4, 6) ENTRY(r2, r9) ENTRY(r3, r10) ENTRY(r4, r11)                         \
  "add r1, r2\nadd r3, r4\nadd r1, r3\n" INDEX(r2, 7) "ldr r3, [lr]\nldr r4, [sp]\n" ENTRY(r2, r12)          \
  "add r1, r3\nadd r1, r2\nstr r1, [lr], #4\nadds r0, #8\n"

/* The same of 4-bit indices, which are in r1; `load` loads what r1 is next. Additions start together with what picks the next index, where
 * two instructions can. */
#define UPPER(at) "ubfx r4, r1, #" #at ", #4\n"
#define TWO(at, upper, table, next_table) \
  "add r2, r3\nubfx r3, r1, #" #at ", #4\nadd r2, r4\n" upper ENTRY(r3, table) ENTRY(r4, next_table)
#define NIBBLES(load)                                                                                                            \
  "ldr r2, [lr]\nubfx r3, r1, #0, #4\n" UPPER(4) ENTRY(r3, r5) ENTRY(r4, r6) TWO(8, UPPER(12), r7, r8)                           \
  TWO(16, UPPER(20), r9, r10) TWO(24, "lsrs r4, r1, #28\n", r11, r12) load "add r2, r3\nadd r2, r4\nstr r2, [lr], #4\n"

/* LUTRA_GROUP lookups a row. `bits`: of an index. Sums end at [sp]. */
LUTRA_NAKED static void add_8(const uint8_t *indices, uint32_t bits, uint32_t codewords, const int16_t *tables,
                                         uint32_t *sums, uint32_t rows) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "ldrd lr, r4, [sp, #36]\n"
                   "add r12, lr, r4, lsl #2\n"
                   "push {r12}\n"
                   "mov r5, r3\n"
                   "add r6, r5, r2, lsl #1\n"
                   "add r7, r5, r2, lsl #2\n"
                   "add r8, r6, r2, lsl #2\n"
                   "add r9, r7, r2, lsl #2\n"
                   "add r10, r8, r2, lsl #2\n"
                   "add r11, r9, r2, lsl #2\n"
                   "add r12, r10, r2, lsl #2\n"
                   "cmp r1, #4\n"
                   "beq 5f\n"
                   "1:\n" ROW_8
                   "cmp lr, r4\n"
                   "bne 1b\n"
                   "pop {r3-r11, pc}\n"
                   "5: movs r1, #3\n" /* r4: rows, then those of the first time, 0 for three */
                   "udiv r2, r4, r1\n"
                   "subs r0, #4\n"
                   "mls r4, r2, r1, r4\n"
                   "cbz r4, 1f\n"
                   "subs r0, #4\n"
                   "ldr r1, [r0, #8]\n"
                   "cmp r4, #2\n"
                   "beq 2f\n"
                   "ldr r1, [r0, #8]!\n"
                   "b 3f\n"
                   "1: ldr r1, [r0, #4]\n" NIBBLES("ldr r1, [r0, #8]\n")
                   "2:\n" NIBBLES("ldr r1, [r0, #12]!\n")
                   "3:\n" NIBBLES("ldr r1, [sp]\n")
                   "cmp lr, r1\n"
                   "bne 1b\n"
                   "pop {r3-r11, pc}\n");
}

void lutra_add_lookups_v7m(const uint8_t *indices, uint32_t index_bits, uint32_t codewords, const int16_t *tables, uint32_t count,
                           uint32_t *sums, uint32_t rows) {
  if (count == LUTRA_GROUP) {
    add_8(indices, index_bits, codewords, tables, sums, rows);
    return;
  }
  /* Byte by byte, of one index or of two. In place of a second one, index 0 selects a 0. */
  static const int16_t none;
  const uint32_t per_byte = 8u / index_bits, stride = (count + per_byte - 1u) / per_byte;
  for (uint32_t i = 0u; i < count; i += per_byte) {
    const uint32_t two = per_byte > 1u && i + 1u < count;
    const uint8_t *index = indices++;
    uint32_t *sum = sums, left = rows, low, high, total;
    __asm__ volatile(".syntax unified\n"
                     "1: ldrb %[high], [%[index]]\n"
                     "ldr %[total], [%[sum]]\n"
                     "and %[low], %[high], %[mask]\n"
                     "lsr %[high], %[shift]\n"
                     "add %[index], %[stride]\n"
                     "ldrsh %[low], [%[table], %[low], lsl #1]\n"
                     "ldrsh %[high], [%[other], %[high], lsl #1]\n"
                     "subs %[left], #1\n"
                     "add %[total], %[low]\n"
                     "add %[total], %[high]\n"
                     "str %[total], [%[sum]], #4\n"
                     "bne 1b\n"
                     : [index] "+r"(index), [sum] "+r"(sum), [left] "+r"(left), [low] "=&r"(low), [high] "=&r"(high),
                       [total] "=&r"(total)
                     : [table] "r"(tables), [other] "r"(two ? tables + codewords : &none), [stride] "r"(stride),
                       [mask] "r"((1u << index_bits) - 1u), [shift] "r"(two ? 4u : 8u)
                     : "cc", "memory");
    tables += per_byte * codewords;
  }
}

/* Four bytes a row, and four tables, r5-r8. */
#define ROW_4(at)                                                     \
  INDEX(r1, at) INDEX(r2, at + 1) INDEX(r3, at + 2) INDEX(r4, at + 3) \
  ENTRY(r1, r5) ENTRY(r2, r6) ENTRY(r3, r7) ENTRY(r4, r8)             \
  "ldr r11, [lr]\nadd r1, r2\nadd r3, r4\nadd r11, r1\nadd r11, r3\nstr r11, [lr], #4\n"

LUTRA_NAKED void lutra_add_pair_lookups_v7m(const uint8_t *indices, const int16_t *pairs, uint32_t *sums,
                                                       uint32_t rows) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r8, r11, lr}\n"
                   "mov lr, r2\n"
                   "add r12, r2, r3, lsl #2\n"
                   "mov r5, r1\n"
                   "add r6, r5, #512\n"
                   "add r7, r6, #512\n"
                   "add r8, r7, #512\n"
                   "lsls r3, r3, #31\n"
                   "beq 1f\n"
                   "subs r0, #4\n"
                   "b 2f\n"
                   "1:\n" ROW_4(0) "2:\n" ROW_4(4)
                   "adds r0, #8\n"
                   "cmp lr, r12\n"
                   "bne 1b\n"
                   "pop {r4-r8, r11, pc}\n");
}
#endif
