/* SPDX-License-Identifier: Apache-2.0 */
/* What the builders of tables share: products of codewords with two vectors, x and y. */
#ifndef LUTRA_ARM_V7M_PRODUCTS_H
#define LUTRA_ARM_V7M_PRODUCTS_H

#if defined(__ARM_FEATURE_DSP)
/* The word at x + at as its bytes 0 and 2, and 1 and 3. */
#define EXPAND(even, odd, x, at) \
  "ldr " #even ", [" #x ", #" #at "]\nsxtb16 " #odd ", " #even ", ror #8\nsxtb16 " #even ", " #even "\n"

/* x at r10, y at r11. */
#define LOAD_4 EXPAND(r2, r3, r10, 0) EXPAND(r6, r7, r11, 0)
#define LOAD_4_MORE EXPAND(r4, r5, r10, 4) EXPAND(r8, r9, r11, 4)

/* Of a codeword in a register, or of two words in r10 and lr: sums in r12 for x and in r11 for y. */
#define PRODUCTS_4(codeword)                      \
  "sxtb16 r11, " #codeword "\n"                   \
  "sxtb16 " #codeword ", " #codeword ", ror #8\n" \
  "smuad r12, r11, r2\n"                          \
  "smuad r11, r11, r6\n"                          \
  "smlad r12, " #codeword ", r3, r12\n"           \
  "smlad r11, " #codeword ", r7, r11\n"
#define CODEWORD_8(at) "ldr r10, [r0, #" #at "]\nldr lr, [r0, #" #at " + 4]\n"
#define PRODUCTS_8            \
  PRODUCTS_4(r10)             \
  "sxtb16 r10, lr\n"          \
  "sxtb16 lr, lr, ror #8\n"   \
  "smlad r12, r10, r4, r12\n" \
  "smlad r11, r10, r8, r11\n" \
  "smlad r11, lr, r9, r11\n"  \
  "smlad r12, lr, r5, r12\n"
#else
/* x + (y << 16), of x at r10 and y at r11. */
#define JOIN(to, at) "ldrsb " #to ", [r10, #" #at "]\nldrsb r12, [r11, #" #at "]\nadd " #to ", " #to ", r12, lsl #16\n"

#define LOAD_4 JOIN(r2, 0) JOIN(r3, 1) JOIN(r4, 2) JOIN(r5, 3)
#define LOAD_4_MORE JOIN(r6, 4) JOIN(r7, 5) JOIN(r8, 6) JOIN(r9, 7)

/* Of the codeword at r0: the sum in r10. `load`: something else, into r12. */
#define PRODUCTS_4          \
  "ldrsb r10, [r0]\n"       \
  "ldrsb r11, [r0, #1]\n"   \
  "ldrsb r12, [r0, #2]\n"   \
  "ldrsb lr, [r0, #3]\n"    \
  "mul r10, r10, r2\n"      \
  "mla r10, r11, r3, r10\n" \
  "mla r10, r12, r4, r10\n" \
  "mla r10, lr, r5, r10\n"
#define PRODUCTS_8(load)       \
  PRODUCTS_4                   \
  "ldrsb r11, [r0, #4]\n"      \
  "ldrsb r12, [r0, #5]\n"      \
  "ldrsb lr, [r0, #6]\n"       \
  "mla r10, r11, r6, r10\n"    \
  "mla r10, r12, r7, r10\n"    \
  "ldrsb r11, [r0, #7]\n" load \
  "mla r10, lr, r8, r10\n"     \
  "mla r10, r11, r9, r10\n"
#endif

#endif
