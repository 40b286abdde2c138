/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V6M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* naked functions find theirs in registers */

/* Entries are sums of codeword[j] * ((b[j] << 16) + a[j]): see add_pixel_lookups.c. A pass over a table adds four coordinates, of
 * codewords that are whole words, or one.
 * r0 codeword, r1 entry, r2 its sum, r3 four coordinates, r4 one, r5-r8 what they meet, r9 d, r10 end of the table, r11 a, r12 b,
 * lr codeword 0 from the next pass's coordinates on. */
#define OPERAND(x)             \
  "ldrsb " x ", [r0, r3]\n"    \
  "ldrsb r4, [r2, r3]\n"       \
  "adds r3, #1\n"              \
  "lsls r4, #16\n"             \
  "adds " x ", r4\n"
#define PRODUCT(x)             \
  "sxtb r4, r3\n"              \
  "asrs r3, #8\n"              \
  "muls r4, " x "\n"           \
  "adds r2, r4\n"
#define PRODUCTS               \
  PRODUCT("r5") PRODUCT("r6") PRODUCT("r7") \
  "mov r4, r8\n"               \
  "muls r4, r3\n"              \
  "adds r2, r4\n"              \
  "stm r1!, {r2}\n"            \
  "cmp r1, r10\n"

LUTRA_NAKED void lutra_build_pixel_tables_v6m(const int8_t *codebook, uint32_t codewords, uint32_t d, const int8_t *a,
                                                         const int8_t *b, uint32_t count, uint32_t *tables) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r7, lr}\n"
                   "mov r4, r8\n"
                   "mov r5, r9\n"
                   "mov r6, r10\n"
                   "mov r7, r11\n"
                   "lsls r1, #2\n"
                   "push {r0, r1, r4-r7}\n" /* [sp]: codebook, bytes of a table; [sp, #44]: coordinates of a pass, end, tables */
                   "mov r9, r2\n"
                   "mov r11, r3\n"
                   "ldr r4, [sp, #44]\n"
                   "mov r12, r4\n"
                   "movs r3, #4\n"
                   "orrs r2, r0\n"
                   "lsls r2, #30\n"
                   "beq 1f\n"
                   "movs r3, #1\n"
                   "1: str r3, [sp, #44]\n"
                   "ldr r3, [sp, #48]\n"
                   "muls r3, r1\n"
                   "ldr r1, [sp, #52]\n"
                   "adds r3, r1\n"
                   "str r3, [sp, #48]\n"
                   "2: ldr r0, [sp, #0]\n" /* a table */
                   "mov lr, r0\n"
                   "ldr r0, [sp, #4]\n"
                   "adds r0, r1\n"
                   "mov r10, r0\n"
                   "3: mov r0, r11\n" /* a pass */
                   "mov r2, r12\n"
                   "movs r3, #0\n"
                   OPERAND("r5")
                   "ldr r4, [sp, #44]\n"
                   "cmp r4, #1\n"
                   "beq 4f\n"
                   OPERAND("r6") OPERAND("r7") OPERAND("r0")
                   "mov r8, r0\n"
                   "4: add r11, r3\n"
                   "add r12, r3\n"
                   "mov r0, lr\n"
                   "add lr, r3\n"
                   "ldr r2, [sp, #0]\n"
                   "subs r2, r0\n" /* 0 in the first pass, else negative */
                   "cmp r3, #1\n"
                   "beq 6f\n"
                   "cmp r2, #0\n"
                   "bne 5f\n"
                   "4: ldr r3, [r0]\n"
                   "add r0, r9\n"
                   "movs r2, #0\n" PRODUCTS
                   "bne 4b\n"
                   "b 8f\n"
                   "5: ldr r3, [r0]\n"
                   "add r0, r9\n"
                   "ldr r2, [r1]\n" PRODUCTS
                   "bne 5b\n"
                   "b 8f\n"
                   "6: asrs r6, r2, #31\n"
                   "movs r7, #0\n"
                   "7: ldr r2, [r1]\n"
                   "ands r2, r6\n"
                   "ldrsb r4, [r0, r7]\n"
                   "add r0, r9\n"
                   "muls r4, r5\n"
                   "adds r2, r4\n"
                   "stm r1!, {r2}\n"
                   "cmp r1, r10\n"
                   "bne 7b\n"
                   "8: ldr r3, [sp, #0]\n"
                   "add r3, r9\n"
                   "cmp r3, lr\n"
                   "beq 9f\n"
                   "ldr r0, [sp, #4]\n"
                   "subs r1, r0\n"
                   "b 3b\n"
                   "9: ldr r3, [sp, #48]\n"
                   "cmp r1, r3\n"
                   "beq 1f\n"
                   "b 2b\n"
                   "1: add sp, #8\n"
                   LUTRA_POP_R8_R11
                   "pop {r4-r7, pc}\n");
}

#endif
