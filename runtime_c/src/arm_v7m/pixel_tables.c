/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V7M_BACKEND_H
#include "products.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of naked functions */

/* An entry is (b << 16) + a, whose upper half is b - 1 where a < 0. The DSP extension can add the upper half of the rounded
 * number; without it 0x8000 is part of the entry. */

#if defined(__ARM_FEATURE_DSP)
#define BIAS 0u
#define JOINED "add r12, r12, r11, lsl #16\n"
#define ENTRIES_8                                                                                            \
  CODEWORD_8(0) PRODUCTS_8 CODEWORD_8(8) JOINED "str r12, [r1], #8\n" PRODUCTS_8 "ldr lr, [sp, #60]\nadds r0, #16\n" \
  JOINED "cmp r1, lr\nstr r12, [r1, #-4]\n"
#define ENTRIES_4                                                                                   \
  "ldr lr, [r0, #4]\nldr r4, [r0], #8\n" PRODUCTS_4(r4) JOINED "str r12, [r1], #8\n" PRODUCTS_4(lr) \
  JOINED "cmp r1, r8\nstr r12, [r1, #-4]\n"
#define MORE_ENTRIES    \
  "ldr lr, [r0]\n"      \
  "ldr r4, [r8]\n"      \
  "add r0, r9\n"        \
  PRODUCTS_4(lr) JOINED \
  "add r12, r4\n"
#else
#define BIAS 0x8000u
#define ENTRIES_8 PRODUCTS_8("ldr r12, [sp, #60]\n") "add r10, #0x8000\nstr r10, [r1], #4\nadds r0, #8\ncmp r1, r12\n"
#define ENTRIES_4 PRODUCTS_4 "add r10, #0x8000\nstr r10, [r1], #4\nadds r0, #4\ncmp r1, r8\n"
#define MORE_ENTRIES PRODUCTS_4 "ldr r12, [r8]\nadd r0, r9\nadd r12, r10\n"
#endif

/* d = 8 or 4. Pushed at sp: codebook, codewords, d and a; at sp + 52: b, count and tables, which becomes where a table ends. */
LUTRA_NAKED static void build_whole(const int8_t *codebook, uint32_t codewords, uint32_t d, const int8_t *a, const int8_t *b,
                                    uint32_t count, uint32_t *tables) {
  __asm__ volatile(".syntax unified\n"
                   "push {r0-r11, lr}\n"
                   "1: ldr r11, [sp, #52]\n"
                   "ldrd r9, r10, [sp, #8]\n"
                   "ldrd r0, r4, [sp]\n"
                   "ldr r1, [sp, #60]\n"
                   "add r6, r10, r9\n"
                   "add r7, r11, r9\n"
                   "add r8, r1, r4, lsl #2\n"
                   "str r6, [sp, #12]\n"
                   "str r7, [sp, #52]\n"
                   "str r8, [sp, #60]\n"
                   "cmp r9, #4\n"
                   LOAD_4
                   "beq 4f\n"
                   LOAD_4_MORE
                   "2:\n" ENTRIES_8
                   "bne 2b\n"
                   "3: ldr r12, [sp, #56]\n"
                   "subs r12, #1\n"
                   "str r12, [sp, #56]\n"
                   "bne 1b\n"
                   "add sp, #16\n"
                   "pop {r4-r11, pc}\n"
                   "4:\n" ENTRIES_4
                   "bne 4b\n"
                   "b 3b\n");
}

/* Adds what four values contribute to a table. */
LUTRA_NAKED static void add_4(const int8_t *codebook, uint32_t codewords, const int8_t *a, const int8_t *b,
                                         uint32_t *table, uint32_t d) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "mov r10, r2\n"
                   "mov r11, r3\n" LOAD_4
                   "ldrd r8, r9, [sp, #36]\n"
                   "add r1, r8, r1, lsl #2\n"
                   "1:\n" MORE_ENTRIES
                   "str r12, [r8], #4\n"
                   "cmp r8, r1\n"
                   "bne 1b\n"
                   "pop {r4-r11, pc}\n");
}

/* Adds what one value contributes to a table. */
static void add_1(const int8_t *codebook, uint32_t codewords, int8_t a, int8_t b, uint32_t *table, uint32_t d) {
  const uint32_t both = ((uint32_t)b << 16) + (uint32_t)a;
  for (const uint32_t *const end = table + codewords; table < end; table++) {
    *table += (uint32_t)*codebook * both;
    codebook += d;
  }
}

void lutra_build_pixel_tables_v7m(const int8_t *codebook, uint32_t codewords, uint32_t d, const int8_t *a, const int8_t *b,
                                  uint32_t count, uint32_t *tables) {
  if (d == 8u || d == 4u) {
    build_whole(codebook, codewords, d, a, b, count, tables);
    return;
  }
  for (; count > 0u; count--) {
    for (uint32_t k = 0u; k < codewords; k++) {
      ((volatile uint32_t *)tables)[k] = BIAS; /* not by memset */
    }
    uint32_t at = 0u;
    for (; at + 4u <= d; at += 4u) {
      add_4(codebook + at, codewords, a + at, b + at, tables, d);
    }
    for (; at < d; at++) {
      add_1(codebook + at, codewords, a[at], b[at], tables, d);
    }
    a += d;
    b += d;
    tables += codewords;
  }
}

#if defined(__ARM_FEATURE_DSP)
#define FIRST(t) NEXT(t)
#define NEXT(t) "smmlar r9, " #t ", r12, r9\nsxtah r8, r8, " #t "\n"
#define TWO "add r2, r3\n"
#define THREE TWO "add r2, r4\n"
#define FOUR TWO "add r4, r5\nadd r2, r4\n"
#define BEGIN "mov r12, #0x10000\n"
#define LAST(entries)
#else
#define FIRST(t) "add r8, " #t "\nasr r12, " #t ", #16\n"
#define NEXT(t) "add r8, " #t "\nadd r12, r12, " #t ", asr #16\n"
#define TWO "add r2, r3\nsub r2, #0x8000\n"
#define THREE "add r2, r3\nadd r2, r4\nsub r2, #2 * 0x8000\n"
#define FOUR "add r2, r3\nadd r4, r5\nadd r2, r4\nsub r2, #3 * 0x8000\n"
#define BEGIN
#define LAST(entries) "add r9, r12\nsub r8, r8, r12, lsl #16\nsub r8, #" #entries " * 0x8000\n"
#endif

/* r0 offsets, r1 tables, r2-r5 entries, r6 a, r7 b, r8 *a, r9 *b, r10 bytes of a row, r11 what is left of rows. Loads that follow
 * each other overlap. */
#define SUMS "ldr r8, [r6]\nldr r9, [r7]\n"
#define HALFWORD(t, at) "ldrh " #t ", [r0, #2 * (" #at ")]\n"
#define BYTE(t, at) "ldrb " #t ", [r0, #" #at "]\n"
#define ENTRY(t) "ldr " #t ", [r1, " #t "]\n"
#define NEXT_ROW "add r0, r10\n"
#define STORE "str r8, [r6], #4\nstr r9, [r7], #4\n"

/* `offset`: how one is loaded; `packed`: entries that may be added before they are split. */
#define ENTRIES_2(offset) offset(r2, 0) offset(r3, 1) ENTRY(r2) ENTRY(r3)
#define ENTRIES_3(offset) offset(r2, 0) offset(r3, 1) offset(r4, 2) ENTRY(r2) ENTRY(r3) ENTRY(r4)
#define ENTRIES_4_OF(offset, at) \
  offset(r2, at) offset(r3, at + 1) offset(r4, at + 2) offset(r5, at + 3) ENTRY(r2) ENTRY(r3) ENTRY(r4) ENTRY(r5)
#define ROW_8(offset)                                                                                                        \
  SUMS ENTRIES_4_OF(offset, 0) FIRST(r2) NEXT(r3) NEXT(r4) NEXT(r5) ENTRIES_4_OF(offset, 4) NEXT_ROW NEXT(r2) NEXT(r3)       \
      NEXT(r4) NEXT(r5) LAST(8) STORE
#define ROW_4(offset) SUMS ENTRIES_4_OF(offset, 0) NEXT_ROW FIRST(r2) NEXT(r3) NEXT(r4) NEXT(r5) LAST(4) STORE
#define ROW_3(offset) SUMS ENTRIES_3(offset) NEXT_ROW FIRST(r2) NEXT(r3) NEXT(r4) LAST(3) STORE
#define ROW_2(offset) SUMS ENTRIES_2(offset) NEXT_ROW FIRST(r2) NEXT(r3) LAST(2) STORE
#define ROW_1(offset) offset(r2, 0) SUMS ENTRY(r2) NEXT_ROW FIRST(r2) LAST(1) STORE
#define ROW_8_PACKED(offset) \
  SUMS ENTRIES_4_OF(offset, 0) FOUR FIRST(r2) ENTRIES_4_OF(offset, 4) NEXT_ROW FOUR NEXT(r2) LAST(2) STORE
#define ROW_4_PACKED(offset) SUMS ENTRIES_4_OF(offset, 0) NEXT_ROW FOUR FIRST(r2) LAST(1) STORE
#define ROW_3_PACKED(offset) SUMS ENTRIES_3(offset) NEXT_ROW THREE FIRST(r2) LAST(1) STORE
#define ROW_2_PACKED(offset) SUMS ENTRIES_2(offset) NEXT_ROW TWO FIRST(r2) LAST(1) STORE

/* Two rows an iteration, the first time one if they are odd; or one. */
#define SWEEP(row)      \
  "lsrs r11, r11, #1\n" \
  "bcc 1f\n"            \
  "add r11, #1\n"       \
  "b 2f\n"              \
  "1:\n" row "2:\n" row \
  "subs r11, #1\n"      \
  "bne 1b\n"            \
  "b 0b\n"
#define EACH(row)  \
  "1:\n" row       \
  "subs r11, #1\n" \
  "bne 1b\n"       \
  "b 0b\n"

/* Sweeps over all rows, each for some of a row's offsets: 8, 4 or 1 of two bytes, 4, 3, 2 or 1 of one byte. lr: 1 or 0, the logarithm of
 * these bytes. At sp: offsets, count and whether sums are packed; at sp + 48: a, b and rows. r2 becomes what is left of the count, then
 * whether sums are packed, r3 what a sweep is for. */
LUTRA_NAKED void lutra_add_pixel_lookups_v7m(const void *offsets, uint32_t count, const uint32_t *tables, uint32_t form, uint32_t *a,
                                             uint32_t *b, uint32_t rows) {
  __asm__ volatile(".syntax unified\n"
                   "lsr r12, r3, #1\n"
                   "and r3, #1\n"
                   "push {r0, r1, r3-r11, lr}\n"
                   "mov lr, r12\n"
                   "lsl r10, r1, r12\n"
                   "mov r1, r2\n" BEGIN
                   "0: ldrd r0, r2, [sp]\n"
                   "ldrd r6, r7, [sp, #48]\n"
                   "ldr r11, [sp, #56]\n"
                   "cmp r2, #0\n"
                   "beq 9f\n"
                   "movs r3, #4\n"
                   "lsl r3, r3, lr\n"
                   "cmp r2, r3\n"
                   "bhs 8f\n"
                   "mov r3, r2\n"
                   "cmp lr, #0\n"
                   "beq 8f\n"
                   "movs r3, #4\n"
                   "cmp r2, r3\n"
                   "bhs 8f\n"
                   "movs r3, #1\n"
                   "8: subs r2, r3\n"
                   "lsl r4, r3, lr\n"
                   "add r4, r0\n"
                   "strd r4, r2, [sp]\n"
                   "ldr r2, [sp, #8]\n"
                   "orr r4, r2, r3, lsl #1\n"
                   "cmp lr, #0\n"
                   "beq 8f\n"
                   "cmp r4, #8\n"
                   "blo 3f\n"
                   "beq 4f\n"
                   "cmp r4, #16\n"
                   "blo 5f\n"
                   "beq 6f\n" SWEEP(ROW_8_PACKED(HALFWORD))
                   "3:\n" EACH(ROW_1(HALFWORD))
                   "4:\n" EACH(ROW_4(HALFWORD))
                   "5:\n" EACH(ROW_4_PACKED(HALFWORD))
                   "6:\n" SWEEP(ROW_8(HALFWORD))
                   "9: add sp, #12\n"
                   "pop {r4-r11, pc}\n"
                   "8: tbb [pc, r4]\n"
                   "7: .byte 0, 0, (3f - 7b) / 2, (3f - 7b) / 2, (4f - 7b) / 2, (5f - 7b) / 2, (6f - 7b) / 2, (8f - 7b) / 2\n"
                   ".byte (9f - 7b) / 2, (10f - 7b) / 2\n"
                   "3:\n" EACH(ROW_1(BYTE))
                   "4:\n" EACH(ROW_2(BYTE))
                   "5:\n" EACH(ROW_2_PACKED(BYTE))
                   "6:\n" EACH(ROW_3(BYTE))
                   "8:\n" SWEEP(ROW_3_PACKED(BYTE))
                   "10:\n" SWEEP(ROW_4_PACKED(BYTE))
                   "9:\n" SWEEP(ROW_4(BYTE)));
}
#endif
