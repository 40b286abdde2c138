/* SPDX-License-Identifier: Apache-2.0 */
#include "../bytes.h"
#include "../loops.h"

#ifdef LUTRA_ARM_V7M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of naked functions */

#if defined(__ARM_FEATURE_DSP)
/* Pairs of pixels; of each four values four words: values 0 and 2, then 1 and 3 of the even pixel as int16, the same of the odd
 * pixel. What follows the last value may be anything.
 * r0 goes over the words, r2 and r3 over values, r1 counts those left of a run; r4 and r5 keep the first r6 bits of the next four
 * values, which runs may have in common; r7 run, r8 from run to run, r9 rows left, r10-r12 and lr free. At sp + 36: step, run, rows. */
LUTRA_NAKED void lutra_patch_set_v7m(void *patches, uint32_t pair, const int8_t *a, const int8_t *b, uint32_t step, uint32_t run,
                                     uint32_t rows) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "ldrd r8, r7, [sp, #36]\n"
                   "ldr r9, [sp, #44]\n"
                   "sub r8, r7\n"
                   "mul r4, r9, r7\n"
                   "adds r4, #3\n"
                   "bic r4, #3\n"
                   "muls r4, r1, r4\n"
                   "add r0, r0, r4, lsl #2\n"
                   "movs r4, #0\n"
                   "movs r5, #0\n"
                   "movs r6, #0\n"
                   "0: subs r1, r7, #4\n"
                   "blo 3f\n"
                   "1: ldr r10, [r2], #4\n" /* four values */
                   "ldr r11, [r3], #4\n"
                   "lsl r12, r10, r6\n"
                   "lsl lr, r11, r6\n"
                   "orr r4, r12\n"
                   "orr r5, lr\n"
                   "2: sxtb16 r12, r4\n"
                   "sxtb16 lr, r4, ror #8\n"
                   "stm r0!, {r12, lr}\n"
                   "sxtb16 r12, r5\n"
                   "sxtb16 lr, r5, ror #8\n"
                   "stm r0!, {r12, lr}\n"
                   "rsb r12, r6, #32\n"
                   "lsr r4, r10, r12\n"
                   "lsr r5, r11, r12\n"
                   "subs r1, #4\n"
                   "bhs 1b\n"
                   "3: adds r1, #4\n"
                   "beq 6f\n"
                   "4: ldrb r10, [r2], #1\n" /* one value */
                   "ldrb r11, [r3], #1\n"
                   "subs r1, #1\n"
                   "lsl r10, r6\n"
                   "lsl r11, r6\n"
                   "orr r4, r10\n"
                   "orr r5, r11\n"
                   "adds r6, #8\n"
                   "cmp r6, #32\n"
                   "beq 7f\n"
                   "5: cmp r1, #0\n"
                   "bne 4b\n"
                   "6: add r2, r8\n"
                   "add r3, r8\n"
                   "subs r9, #1\n"
                   "bne 0b\n"
                   "cbz r6, 8f\n"
                   "movs r1, #0\n"
                   "mov r9, #1\n"
                   "7: movs r6, #0\n" /* keeps nothing */
                   "mov r10, r6\n"
                   "mov r11, r6\n"
                   "b 2b\n"
                   "8: pop {r4-r11, pc}\n");
}

/* r0 patch, r1 and r2 weights of two rows, r4 and r5 their sums of the even pixel, r6 and r7 of the odd one. */
#define WEIGHTS "ldr r8, [r1], #4\nldr r9, [r2], #4\n"
#define VALUES "ldr r11, [r0, #4]\nldr r12, [r0, #8]\nldr lr, [r0, #12]\nldr r10, [r0], #16\n"
#define PRODUCTS                 \
  "sxtb16 r3, r8\n"              \
  "smlad r4, r3, r10, r4\n"      \
  "smlad r6, r3, r12, r6\n"      \
  "sxtb16 r3, r9\n"              \
  "smlad r5, r3, r10, r5\n"      \
  "smlad r7, r3, r12, r7\n"      \
  "sxtb16 r8, r8, ror #8\n"      \
  "sxtb16 r9, r9, ror #8\n"      \
  "smlad r4, r8, r11, r4\n"      \
  "smlad r6, r8, lr, r6\n"       \
  "smlad r5, r9, r11, r5\n"      \
  "smlad r7, r9, lr, r7\n"
#define FOUR(compare) WEIGHTS VALUES compare PRODUCTS

typedef struct {
  const uint8_t *patch;
  const uint8_t *end; /* of whole fours of values; - 4 + length % 4 */
  uint32_t length, first; /* of the four bodies of the loop */
  uint32_t *sums;
  uint32_t odd;     /* bytes from a sum of the even pixel to that of the odd one */
  uint32_t couples; /* of rows */
} task;

/* Two pixels, `couples` times two rows. The last one to three weights of a row are the end of a word: length >= 4. At sp: the
 * task. */
LUTRA_NAKED static void dot_couples(const int8_t *weights, const int8_t *second, const task *what) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "ldm r2, {r3-r9}\n"
                   "push {r3-r9}\n"
                   "mov r2, r1\n"
                   "mov r1, r0\n"
                   "mov r0, r3\n"
                   "adr r3, 2f\n"
                   "add r3, r3, r6\n"
                   "str r3, [sp, #12]\n"
                   "1: movs r4, #0\n"
                   "movs r5, #0\n"
                   "movs r6, #0\n"
                   "movs r7, #0\n"
                   "bx r3\n"
                   ".balign 4\n"
                   "2:\n" FOUR("") FOUR("") FOUR("") FOUR("ldr r3, [sp, #4]\ncmp r0, r3\n")
                   "blo 2b\n"
                   "ldr r3, [sp, #4]\n"
                   "ands r3, #3\n"
                   "bne 5f\n"
                   "3: ldr r8, [sp, #16]\n"
                   "ldr r9, [sp, #20]\n"
                   "ldr r10, [sp, #24]\n"
                   "ldr r11, [sp, #8]\n"
                   "ldr r3, [sp, #12]\n"
                   "ldr r0, [sp]\n"
                   "str r6, [r8, r9]\n" /* the odd pixel first: it may not exist */
                   "str r4, [r8], #4\n"
                   "str r7, [r8, r9]\n"
                   "str r5, [r8], #4\n"
                   "str r8, [sp, #16]\n"
                   "mov r1, r2\n"
                   "add r2, r1, r11\n"
                   "subs r10, #1\n"
                   "str r10, [sp, #24]\n"
                   "bne 1b\n"
                   "add sp, #28\n"
                   "pop {r4-r11, pc}\n"
                   "5: add r1, r3\n"
                   "add r2, r3\n"
                   "ldr r8, [r1, #-4]\n"
                   "ldr r9, [r2, #-4]\n"
                   "rsb r3, r3, #4\n"
                   "lsls r3, r3, #3\n"
                   "lsr r8, r3\n"
                   "lsr r9, r3\n" VALUES PRODUCTS
                   "b 3b\n");
}
#define BODY_BYTES 72u

/* Couples of rows; then the last row, or rows that are shorter than a word, one by one: twice. */
void lutra_patch_dot_v7m(const void *patches, uint32_t pixels, const int8_t *weights, uint32_t length, uint32_t rows,
                         uint32_t *sums) {
  const uint32_t is_short = length < 4u, fours = is_short ? 1u : length / 4u;
  task what;
  what.patch = patches;
  what.length = length;
  what.first = (0u - fours) % 4u * BODY_BYTES + 1u;
  for (uint32_t p = 0u; p < pixels; p += 2u) {
    const int8_t *row = weights;
    what.end = what.patch + 16u * fours - 4u + (is_short ? 0u : length % 4u);
    for (uint32_t left = rows, taken; left > 0u; left -= taken) {
      uint32_t twice[4], odd = p + 1u < pixels ? rows : 0u, word = 0u;
      const int8_t *first = row, *second = row + length;
      taken = left & ~1u;
      what.sums = sums;
      what.odd = 4u * odd;
      what.couples = left / 2u;
      if (left == 1u || is_short) {
        taken = 1u;
        what.sums = twice;
        what.odd = 8u;
        what.couples = 1u;
        if (is_short) {
          lutra_copy_bytes(&word, row, length);
          first = (const int8_t *)&word;
        }
        second = first;
      }
      dot_couples(first, second, &what);
      if (taken == 1u) {
        sums[odd] = twice[2];
        sums[0] = twice[0];
      }
      row += taken * length;
      sums += taken;
    }
    what.patch += 16u * ((length + 3u) / 4u);
    sums += rows;
  }
}
#else
/* Of each value two words, of two pixels each: the odd pixel's * 65536 + the even one's. A dot product with them is two, of which
 * the lower borrows from the upper. */
void lutra_patch_set_v7m(void *patches, uint32_t pair, const int8_t *a, const int8_t *b, uint32_t step, uint32_t run,
                         uint32_t rows) {
  uint32_t *to = (uint32_t *)patches + pair;
  for (; rows > 0u; rows--) {
    const int8_t *x = a;
    uint32_t left = run, a0, a1, b0, b1;
#define VALUES_OF(a, b) "ldrsb %[" b "], [%[x], %[apart]]\nldrsb %[" a "], [%[x]], #1\n"
#define SET(a, b) "add %[" a "], %[" a "], %[" b "], lsl #16\nstr %[" a "], [%[to]], #8\n"
    __asm__ volatile("lsrs %[left], %[left], #1\nbcc 1f\n" VALUES_OF("a0", "b0") SET("a0", "b0") "cmp %[left], #0\nbeq 2f\n"
                     "1:\n" VALUES_OF("a0", "b0") VALUES_OF("a1", "b1") SET("a0", "b0") SET("a1", "b1")
                     "subs %[left], %[left], #1\nbne 1b\n"
                     "2:\n"
                     : [to] "+r"(to), [x] "+r"(x), [left] "+r"(left), [a0] "=&r"(a0), [a1] "=&r"(a1), [b0] "=&r"(b0), [b1] "=&r"(b1)
                     : [apart] "r"(b - a)
                     : "cc", "memory");
    a += step;
    b += step;
  }
}

/* r0 patch, r1 weights, r4 and r5 sums of the first word, r6 and r7 of the second: of products, and of their upper halves.
 * The sum of two products of int8 is -0x7F00 .. 0x8000: made positive the lower one does not borrow. */
#define VALUES "ldr r11, [r0, #4]\nldr r12, [r0, #8]\nldr lr, [r0, #12]\nldr r10, [r0], #16\n"
#define POSITIVE 0x7F007F00u
#define SUM(products, highs) \
  "add r3, #0x7F007F00\nadd " products ", r3\nadd " highs ", " highs ", r3, lsr #16\n"
#define PRODUCTS                                              \
  "mul r3, r8, r10\nmla r3, r9, r12, r3\n" SUM("r4", "r5") \
  "mul r3, r8, r11\nmla r3, r9, lr, r3\n" SUM("r6", "r7")
#define TWO "ldrsb r8, [r1], #1\nldrsb r9, [r1], #1\n" VALUES PRODUCTS

typedef struct {
  uint32_t *sums;
  uint32_t second, third, fourth; /* bytes from a sum of the first pixel to that of another */
  uint32_t rows;                  /* left */
  const void *patch;
  uint32_t couples;         /* bytes of whole couples of weights */
  uint32_t products, highs; /* what sums begin with, against what makes products positive */
  uint32_t length;
} task;

/* Four pixels. */
LUTRA_NAKED static void dot_four(const int8_t *weights, task *what) {
  __asm__ volatile(".syntax unified\n"
                   "ldr r2, [r1, #36]\n"
                   "push {r1, r2, r4-r11, lr}\n"
                   "mov lr, r1\n"
                   "mov r1, r0\n"
                   "1: add r3, lr, #20\n"
                   "ldm r3, {r0, r2, r4, r5}\n"
                   "lsls r3, r2, #31\n"
                   "add r2, r2, r1\n"
                   "mov r6, r4\n"
                   "mov r7, r5\n"
                   "bcs 3f\n"
                   "b 4f\n"
                   "2:\n" TWO
                   "3:\n" TWO
                   "4: cmp r1, r2\n"
                   "blo 2b\n"
                   "ldr lr, [sp]\n"
                   "ldr r3, [sp, #4]\n"
                   "lsls r3, r3, #31\n"
                   "beq 5f\n"
                   "ldrsb r8, [r1], #1\n"
                   "ldr r11, [r0, #4]\n"
                   "ldr r10, [r0]\n"
                   "mul r3, r8, r10\n" SUM("r4", "r5")
                   "mul r3, r8, r11\n" SUM("r6", "r7")
                   "5: sub r4, r4, r5, lsl #16\n"
                   "sub r6, r6, r7, lsl #16\n"
                   "ldm lr, {r8-r12}\n"
                   "str r7, [r8, r11]\n" /* the first pixel last: others may not exist */
                   "str r6, [r8, r10]\n"
                   "str r5, [r8, r9]\n"
                   "str r4, [r8], #4\n"
                   "subs r12, #1\n"
                   "str r8, [lr]\n"
                   "str r12, [lr, #16]\n"
                   "bne 1b\n"
                   "pop {r1, r2, r4-r11, pc}\n");
}

void lutra_patch_dot_v7m(const void *patches, uint32_t pixels, const int8_t *weights, uint32_t length, uint32_t rows,
                         uint32_t *sums) {
  const uint32_t steps = (length + 1u) / 2u, bytes = 4u * rows;
  task what = {sums, pixels > 1u ? bytes : 0u, pixels > 2u ? 2u * bytes : 0u, pixels > 3u ? 3u * bytes : 0u, rows, patches,
               length & ~1u, 0u - steps * POSITIVE, 0u - steps * (POSITIVE >> 16), length};
  dot_four(weights, &what);
}
#endif
#endif
