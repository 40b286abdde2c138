/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V6M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* naked functions find theirs in registers */

/* r0 weights of a row, r1 bits that were read, r2 row, r3 what is left of the weights, r7 d, r8 mask of indices, r9 codebook, r10 bits of
 * an index, r12 codes, lr where the row's weights begin; at sp how many rows are left.
 * r11: 2 or 4 where 8-bit indices stand for codewords of 2 or 4 values, all of them aligned; 1 where pairs of 4-bit indices stand for
 * one value each; else 0. Where it is not 0, r1 is where the next index is and r3 the end of the weights. */
#define ROW_OF(size, shift, load, store) \
  "mov r5, r9\n"                         \
  "mov r6, r8\n"                         \
  "movs r1, r2\n"                        \
  "adds r3, r0\n"                        \
  "1: ldrb r4, [r1]\n"                   \
  "ands r4, r6\n"                        \
  "lsls r4, #" #shift "\n"               \
  load " r4, [r5, r4]\n"                 \
  "adds r1, #1\n"                        \
  store " r4, [r0]\n"                    \
  "adds r0, #" #size "\n"                \
  "cmp r0, r3\n"                         \
  "bne 1b\n"

LUTRA_NAKED void lutra_decode_v6m(const lutra_codes *codes) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r7, lr}\n"
                   LUTRA_PUSH_R8_R11
                   "mov r12, r0\n"
                   "ldr r6, [r0, #28]\n"
                   "push {r6}\n"
                   "ldr r4, [r0, #12]\n"
                   "mov r9, r4\n"
                   "ldr r5, [r0, #16]\n"
                   "subs r5, #1\n"
                   "mov r8, r5\n"
                   "ldr r5, [r0, #24]\n"
                   "orrs r4, r5\n"
                   "ldr r5, [r0, #32]\n"
                   "mov lr, r5\n"
                   "orrs r4, r5\n"
                   "ldr r5, [r0, #36]\n"
                   "orrs r4, r5\n" /* any of their bits below d: not aligned */
                   "ldr r7, [r0, #20]\n"
                   "ldr r6, [r0, #8]\n"
                   "mov r10, r6\n"
                   "movs r5, #0\n"
                   "cmp r6, #8\n"
                   "beq 2f\n"
                   "cmp r7, #1\n"
                   "bne 1f\n"
                   "ldr r4, [r0, #24]\n"
                   "lsrs r4, #1\n"
                   "bcs 1f\n"
                   "b 8f\n"
                   "2: subs r6, r7, #1\n"
                   "tst r4, r6\n"
                   "bne 1f\n"
                   "cmp r7, #2\n"
                   "beq 8f\n"
                   "cmp r7, #4\n"
                   "bne 1f\n"
                   "8: movs r5, r7\n"
                   "1: mov r11, r5\n"
                   "ldr r2, [r0]\n"
                   "0: mov r0, lr\n"
                   "mov r4, r12\n"
                   "ldr r3, [r4, #24]\n"
                   "mov r4, r11\n"
                   "lsrs r4, #1\n"
                   "beq 9f\n"
                   "cmp r4, #1\n"
                   "beq 5f\n"
                   "b 6f\n"
                   "9: bcs 10f\n"
                   "movs r1, #0\n"
                   "2: lsrs r4, r1, #3\n"
                   "ldrb r4, [r2, r4]\n"
                   "movs r5, #7\n"
                   "ands r5, r1\n"
                   "lsrs r4, r5\n"
                   "mov r5, r8\n"
                   "ands r4, r5\n"
                   "muls r4, r7\n"
                   "add r4, r9\n"
                   "add r1, r10\n"
                   "movs r6, r7\n" /* values of this one: d, or all that is left */
                   "subs r3, r7\n"
                   "bhs 3f\n"
                   "adds r6, r3\n"
                   "3: movs r5, r0\n"
                   "orrs r5, r4\n"
                   "orrs r5, r6\n"
                   "lsls r5, #30\n"
                   "beq 4f\n"
                   "3: subs r6, #1\n"
                   "ldrb r5, [r4, r6]\n"
                   "strb r5, [r0, r6]\n"
                   "bne 3b\n"
                   "b 8f\n"
                   "4: subs r6, #4\n"
                   "ldr r5, [r4, r6]\n"
                   "str r5, [r0, r6]\n"
                   "bne 4b\n"
                   "8: adds r0, r7\n"
                   "cmp r3, #0\n"
                   "bgt 2b\n"
                   "b 7f\n"
                   "10: mov r5, r9\n"
                   "movs r1, r2\n"
                   "adds r3, r0\n"
                   "1: ldrb r4, [r1]\n"
                   "adds r1, #1\n"
                   "lsrs r6, r4, #4\n"
                   "mov r7, r8\n"
                   "ands r4, r7\n"
                   "ands r6, r7\n"
                   "ldrb r4, [r5, r4]\n"
                   "ldrb r6, [r5, r6]\n"
                   "strb r4, [r0]\n"
                   "strb r6, [r0, #1]\n"
                   "adds r0, #2\n"
                   "cmp r0, r3\n"
                   "bne 1b\n"
                   "movs r7, #1\n"
                   "b 7f\n"
                   "5:\n" ROW_OF(2, 1, "ldrh", "strh")
                   "b 7f\n"
                   "6:\n" ROW_OF(4, 2, "ldr", "str")
                   "7: mov r4, r12\n"
                   "ldr r5, [r4, #4]\n"
                   "adds r2, r5\n"
                   "ldr r5, [r4, #36]\n"
                   "add lr, r5\n"
                   "ldr r5, [sp]\n"
                   "subs r5, #1\n"
                   "str r5, [sp]\n"
                   "bne 0b\n"
                   "add sp, #4\n"
                   LUTRA_POP_R8_R11
                   "pop {r4-r7, pc}\n");
}

#endif
