/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V7M_BACKEND_H
#include "products.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of naked functions */

/* Two tables at once, `apart` bytes from each other; one table is two in the same place. r1 goes over the first one.
 * Without the DSP extension the upper half of a sum is that of y's products but for the borrow of x's. */
#if defined(__ARM_FEATURE_DSP)
#define ENTRIES_8 CODEWORD_8(0) PRODUCTS_8 "ldr r10, [sp, #40]\nldr lr, [sp, #36]\nstrh r11, [r1, r10]\nstrh r12, [r1], #2\n"
#define KEPT "r4"
#define MORE_ENTRIES     \
  "ldr lr, [r0]\n"       \
  "ldrsh r10, [r1]\n"    \
  "ldrsh r5, [r1, r8]\n" \
  PRODUCTS_4(lr)         \
  "and r10, r4\n"        \
  "and r5, r4\n"         \
  "add r12, r10\n"       \
  "add r11, r5\n"        \
  "strh r11, [r1, r8]\n" \
  "strh r12, [r1], #2\n"
#else
#define UPPER "add r11, r10, #0x8000\nlsr r11, #16\n"
#define ENTRIES_8 PRODUCTS_8("") UPPER "ldr r12, [sp, #40]\nldr lr, [sp, #36]\nstrh r11, [r1, r12]\nstrh r10, [r1], #2\n"
#define KEPT "r7"
#define MORE_ENTRIES             \
  PRODUCTS_4                     \
  "ldrsh r11, [r1]\n"            \
  "ldrsh r12, [r1, r8]\n"        \
  "add r11, r11, r12, lsl #16\n" \
  "and r11, r7\n"                \
  "add r10, r11\n"               \
  UPPER                          \
  "strh r11, [r1, r8]\n"         \
  "strh r10, [r1], #2\n"
#endif

/* At sp + 36: where the first table starts, which becomes where it ends, and apart. */
LUTRA_NAKED static void build_8(const int8_t *codebook, uint32_t codewords, const int8_t *x, const int8_t *y,
                                           int16_t *tables, uint32_t apart) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "mov r10, r2\n"
                   "mov r11, r3\n" LOAD_4 LOAD_4_MORE
                   "lsl lr, r1, #1\n"
                   "ldr r1, [sp, #36]\n"
                   "add lr, r1\n"
                   "str lr, [sp, #36]\n"
                   "1:\n" ENTRIES_8
                   "adds r0, #8\n"
                   "cmp r1, lr\n"
                   "bne 1b\n"
                   "pop {r4-r11, pc}\n");
}

/* Adds what four values contribute to `kept` bits of the entries. At sp + 36: tables, as above, apart, kept and d. */
LUTRA_NAKED static void add_4(const int8_t *codebook, uint32_t codewords, const int8_t *x, const int8_t *y,
                                         int16_t *tables, uint32_t apart, uint32_t kept, uint32_t d) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "mov r10, r2\n"
                   "mov r11, r3\n" LOAD_4
                   "ldr " KEPT ", [sp, #44]\n"
                   "ldr r8, [sp, #40]\n"
                   "ldr r9, [sp, #48]\n"
                   "lsl r12, r1, #1\n"
                   "ldr r1, [sp, #36]\n"
                   "add r12, r1\n"
                   "str r12, [sp, #36]\n"
                   "1:\n" MORE_ENTRIES
                   "ldr r12, [sp, #36]\n"
                   "add r0, r9\n"
                   "cmp r1, r12\n"
                   "bne 1b\n"
                   "pop {r4-r11, pc}\n");
}

void lutra_build_tables_v7m(const int8_t *codebook, uint32_t codewords, uint32_t d, const int8_t *x, uint32_t count,
                            int16_t *tables) {
  if (d % 4u != 0u) {
    lutra_build_tables_reference(codebook, codewords, d, x, count, tables);
    return;
  }
  for (uint32_t others; count > 0u; count -= 1u + others) {
    others = count > 1u;
    const int8_t *const y = x + others * d;
    const uint32_t apart = others * codewords * sizeof *tables;
    if (d == 8u) {
      build_8(codebook, codewords, x, y, tables, apart);
    } else {
      for (uint32_t at = 0u; at < d; at += 4u) {
        add_4(codebook + at, codewords, x + at, y + at, tables, apart, at == 0u ? 0u : ~0u, d);
      }
    }
    x = y + d;
    tables += (1u + others) * codewords;
  }
}
#endif
