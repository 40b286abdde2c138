/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

/* A patch is the values of its pixels one after the other, `length` bytes each. */

void lutra_patch_set_mve(void *patches, uint32_t pair, const int8_t *a, const int8_t *b, uint32_t step, uint32_t run,
                         uint32_t rows) {
  const uint32_t length = rows * run;
  int8_t *to = (int8_t *)patches + 2u * pair * length, *to_b = to + length;
  const uint32_t past = (run + 15u) & ~15u;
  /* Vectors go beyond a run, where nothing is stored; then what they point at is the next run. */
  __asm__ volatile("1: dlstp.8 lr, %[run]\n"
                   "2: vldrb.8 q0, [%[a]], #16\n"
                   "vstrb.8 q0, [%[to]], #16\n"
                   "vldrb.8 q1, [%[b]], #16\n"
                   "vstrb.8 q1, [%[to_b]], #16\n"
                   "letp lr, 2b\n"
                   "add %[a], %[next]\n"
                   "add %[b], %[next]\n"
                   "sub %[to], %[back]\n"
                   "sub %[to_b], %[back]\n"
                   "subs %[rows], #1\n"
                   "bne 1b\n"
                   : [a] "+r"(a), [b] "+r"(b), [to] "+r"(to), [to_b] "+r"(to_b), [rows] "+r"(rows)
                   : [run] "r"(run), [next] "r"(step - past), [back] "r"(past - run)
                   : "q0", "q1", "lr", "cc", "memory");
}

/* Passes of dot4: between the four sums, and from a pass to the next, bytes. */
typedef struct {
  uint32_t length, apart;
  uint32_t a, b, sums;
  uint32_t count; /* of passes, > 0 */
} passes;

/* A pass is four dot products, of a with b, b + length, .., that go to *sums and where `apart` leads. */
static void dot4(const int8_t *a, const int8_t *b, uint32_t *sums, passes all) {
  const int8_t *b1 = b + all.length, *b2 = b1 + all.length, *b3 = b2 + all.length;
  const uint32_t loaded = (all.length + 15u) & ~15u;
  uint32_t s0, s1, s2, s3;
  all.a -= loaded;
  all.b -= loaded;
  __asm__ volatile("1: ldr lr, [%[all]]\n"
                   "movs %[s0], #0\n"
                   "mov %[s1], %[s0]\n"
                   "mov %[s2], %[s0]\n"
                   "mov %[s3], %[s0]\n"
                   "dlstp.8 lr, lr\n"
                   "2: vldrb.8 q0, [%[a]], #16\n"
                   "vldrb.8 q1, [%[b]], #16\n"
                   "vmladava.s8 %[s0], q0, q1\n"
                   "vldrb.8 q2, [%[b1]], #16\n"
                   "vmladava.s8 %[s1], q0, q2\n"
                   "vldrb.8 q1, [%[b2]], #16\n"
                   "vmladava.s8 %[s2], q0, q1\n"
                   "vldrb.8 q2, [%[b3]], #16\n"
                   "vmladava.s8 %[s3], q0, q2\n"
                   "letp lr, 2b\n"
                   "ldr lr, [%[all], #4]\n"
                   "str %[s0], [%[sums]]\n"
                   "str %[s1], [%[sums], lr]\n"
                   "str %[s2], [%[sums], lr, lsl #1]\n"
                   "add %[s2], %[sums], lr, lsl #1\n"
                   "ldrd %[s0], %[s1], [%[all], #8]\n"
                   "str %[s3], [%[s2], lr]\n"
                   "ldrd %[s2], %[s3], [%[all], #16]\n"
                   "add %[a], %[s0]\n"
                   "add %[b], %[s1]\n"
                   "add %[b1], %[s1]\n"
                   "add %[b2], %[s1]\n"
                   "add %[b3], %[s1]\n"
                   "add %[sums], %[s2]\n"
                   "subs %[s3], #1\n"
                   "str %[s3], [%[all], #20]\n"
                   "bne 1b\n"
                   : [a] "+r"(a), [b] "+r"(b), [b1] "+r"(b1), [b2] "+r"(b2), [b3] "+r"(b3), [sums] "+r"(sums), [s0] "=&Te"(s0),
                     [s1] "=&Te"(s1), [s2] "=&Te"(s2), [s3] "=&Te"(s3)
                   : [all] "r"(&all)
                   : "q0", "q1", "q2", "lr", "cc", "memory");
}

void lutra_dot_rows_mve(const int8_t *weights, const int8_t *x, uint32_t length, uint32_t rows, uint32_t *sums) {
  const uint32_t fours = rows & ~3u;
  if (fours > 0u) {
    dot4(x, weights, sums, (passes){.length = length, .apart = 4u, .a = 0u, .b = 4u * length, .sums = 16u, .count = rows >> 2});
  }
  weights += fours * length;
  for (uint32_t n = fours; n < rows; n++) {
    const int8_t *a = x, *b = weights;
    uint32_t sum = 0u;
    __asm__ volatile("dlstp.8 lr, %[length]\n"
                     "1: vldrb.8 q0, [%[a]], #16\n"
                     "vldrb.8 q1, [%[b]], #16\n"
                     "vmladava.s8 %[sum], q0, q1\n"
                     "letp lr, 1b\n"
                     : [a] "+r"(a), [b] "+r"(b), [sum] "+Te"(sum)
                     : [length] "r"(length)
                     : "q0", "q1", "lr", "memory");
    sums[n] = sum;
    weights += length;
  }
}

void lutra_patch_dot_mve(const void *patches, uint32_t pixels, const int8_t *weights, uint32_t length, uint32_t rows,
                         uint32_t *sums) {
  const int8_t *patch = patches;
  if (pixels == LUTRA_PATCH_PIXELS) {
    dot4(weights, patch, sums, (passes){.length = length, .apart = 4u * rows, .a = length, .b = 0u, .sums = 4u, .count = rows});
    return;
  }
  for (; pixels > 0u; pixels--) {
    lutra_dot_rows_mve(weights, patch, length, rows, sums);
    patch += length;
    sums += rows;
  }
}
#endif
