/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V6M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* naked functions find theirs in registers */

/* A patch holds two words a value: (pixel 1 << 16) + pixel 0 and (pixel 3 << 16) + pixel 2, the lower ones of either sign: a
 * negative one has taken 1 from the half above it. */

void lutra_patch_set_v6m(void *patches, uint32_t pair, const int8_t *a, const int8_t *b, uint32_t step, uint32_t run,
                         uint32_t rows) {
  uint32_t *to = (uint32_t *)patches + pair;
  for (; rows > 0u; rows--) {
    const int8_t *const a_end = a + run, *const b_end = b + run;
    int32_t left = -(int32_t)run, even, odd;
    __asm__ volatile(".syntax unified\n"
                     "1: ldrsb %[odd], [%[b_end], %[left]]\n"
                     "ldrsb %[even], [%[a_end], %[left]]\n"
                     "lsls %[odd], #16\n"
                     "adds %[even], %[odd]\n"
                     "str %[even], [%[to]]\n"
                     "adds %[to], #8\n"
                     "adds %[left], #1\n"
                     "bne 1b\n"
                     : [to] "+l"(to), [left] "+l"(left), [even] "=&l"(even), [odd] "=&l"(odd)
                     : [a_end] "l"(a_end), [b_end] "l"(b_end)
                     : "cc", "memory");
    a += step;
    b += step;
  }
}

/* A weight times a word is (product of the odd pixel << 16) + product of the even one; two of them add up to halves in
 * -32512 .. 32768, with BIAS in each to unsigned ones. With S the sum of all and H that of their upper halves, without BIAS, the
 * dot products are H and S - (H << 16).
 * r0-r3 words and products, r4 weight, r5 patch, r6 end of a filter, r7 minus what is left of it, r8, r9 S, r10, r11 H,
 * r12 BIAS in both halves, lr sums. */
#define BIAS 0x7F00u
#define EVEN_WEIGHT        \
  "ldm r5!, {r0-r3}\n"     \
  "ldrsb r4, [r6, r7]\n"   \
  "adds r7, #1\n"          \
  "muls r0, r4\n"          \
  "muls r1, r4\n"
#define ODD_WEIGHT         \
  "ldrsb r4, [r6, r7]\n"   \
  "muls r2, r4\n"          \
  "muls r3, r4\n"          \
  "adds r0, r2\n"          \
  "adds r1, r3\n"          \
  "add r0, r12\n"          \
  "add r1, r12\n"          \
  "add r8, r0\n"           \
  "add r9, r1\n"           \
  "lsrs r0, #16\n"         \
  "lsrs r1, #16\n"         \
  "add r10, r0\n"          \
  "add r11, r1\n"          \
  "adds r7, #1\n"

/* The four from `s` on begin each filter; the next three say how far the sums of pixels 1 to 3 lie after those of pixel 0. */
static LUTRA_NAKED void dot(const int8_t *weights, uint32_t *sums, uint32_t biases, uint32_t unused,
                                                 uint32_t s, uint32_t h, const void *patches, uint32_t minus_length,
                                                 uint32_t pixel_1, uint32_t pixel_2, uint32_t pixel_3, const uint32_t *end) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r7, lr}\n"
                   LUTRA_PUSH_R8_R11
                   "movs r6, r0\n"
                   "mov lr, r1\n"
                   "mov r12, r2\n"
                   "1: add r0, sp, #36\n" /* a filter */
                   "ldm r0!, {r1, r2, r5, r7}\n"
                   "mov r8, r1\n"
                   "mov r9, r1\n"
                   "mov r10, r2\n"
                   "mov r11, r2\n"
                   "subs r6, r7\n"
                   "lsls r0, r7, #31\n" /* carry: what four weights at a time leave is 1 or 2 */
                   "beq 2f\n"
                   "movs r0, #0\n" /* an odd length: the first of two is 0 */
                   "movs r1, #0\n"
                   "ldm r5!, {r2, r3}\n"
                   "bcs 6f\n"
                   "b 4f\n"
                   "2: bcs 5f\n"
                   "3:\n" EVEN_WEIGHT
                   "4:\n" ODD_WEIGHT
                   "5:\n" EVEN_WEIGHT
                   "6:\n" ODD_WEIGHT
                   "bne 3b\n"
                   "mov r0, r8\n"
                   "mov r1, r10\n"
                   "lsls r2, r1, #16\n"
                   "subs r0, r2\n"
                   "mov r2, r9\n"
                   "mov r3, r11\n"
                   "lsls r4, r3, #16\n"
                   "subs r2, r4\n"
                   "mov r4, lr\n"
                   "ldr r5, [sp, #60]\n"
                   "str r3, [r4, r5]\n"
                   "ldr r5, [sp, #56]\n"
                   "str r2, [r4, r5]\n"
                   "ldr r5, [sp, #52]\n"
                   "str r1, [r4, r5]\n"
                   "stm r4!, {r0}\n"
                   "mov lr, r4\n"
                   "ldr r5, [sp, #64]\n"
                   "cmp r4, r5\n"
                   "bne 1b\n"
                   LUTRA_POP_R8_R11
                   "pop {r4-r7, pc}\n");
}

void lutra_patch_dot_v6m(const void *patches, uint32_t pixels, const int8_t *weights, uint32_t length, uint32_t rows,
                         uint32_t *sums) {
  const uint32_t h = 0u - (length + 1u) / 2u * BIAS, pixel_bytes = rows * sizeof *sums;
  /* A pixel that lacks is stored where pixel 0 will be. */
  dot(weights, sums, BIAS << 16 | BIAS, 0u, h + (h << 16), h, patches, 0u - length, pixels > 1u ? pixel_bytes : 0u,
      pixels > 2u ? 2u * pixel_bytes : 0u, pixels > 3u ? 3u * pixel_bytes : 0u, sums + rows);
}

#endif
