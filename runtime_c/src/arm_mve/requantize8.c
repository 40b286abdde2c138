/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "../loops8.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

/* Sums of a pooling window's columns become their greatest one; returns the new pitch. */
static uint32_t pool_columns(uint32_t rows, uint32_t *sums, uint32_t pitch, uint32_t pixels, uint32_t pool) {
  if (pool == 2u && (pitch & 7u) == 0u) { /* all rows at once */
    const uint32_t *pairs = sums;
    __asm__ volatile("dls lr, %[count]\n"
                     "1: vld20.32 {q0, q1}, [%[pairs]]\n"
                     "vld21.32 {q0, q1}, [%[pairs]]!\n"
                     "vmax.s32 q0, q0, q1\n"
                     "vstrw.32 q0, [%[sums]], #16\n"
                     "le lr, 1b\n"
                     : [pairs] "+r"(pairs), [sums] "+r"(sums)
                     : [count] "r"(rows * pitch >> 3)
                     : "q0", "q1", "lr", "memory");
    return pitch >> 1;
  }
  for (; rows > 0u; rows--) {
    const uint32_t *window = sums;
    for (uint32_t p = 0u; p < pixels; p++) {
      int32_t greatest = INT32_MIN;
      for (uint32_t x = 0u; x < pool; x++) {
        greatest = (int32_t)*window > greatest ? (int32_t)*window : greatest;
        window++;
      }
      sums[p] = (uint32_t)greatest;
    }
    sums += pitch;
  }
  return pitch;
}

/* What changes from four channels to the next. */
typedef struct {
  uint32_t scales[8]; /* of each channel the bias, with its share, and the multiplier */
  const lutra_channel *channels;
  const uint32_t *share;
  uint32_t share_step, bias_shift;
  uint32_t *sums;
  int8_t *output;
  uint32_t pitch, rows;
} state;

/* Four pixels of channel i, to the lower or upper 16-bit lanes of q1 or q2. */
#define CHANNEL(i, read, narrow)                              \
  "ldrd %[a], %[b], [%[state], #8*" i "]\n" read("%[sums" i "]") \
  "vshl.s32 q0, %[acc_shift]\n"                               \
  "vqrdmulh.s32 q0, q0, %[b]\n" narrow
#define READ(sums)                                            \
  "vldrw.32 q0, [" sums "], #16\n"                            \
  "vadd.i32 q0, q0, %[a]\n"
#define READ_AND_CLEAR(sums)                                  \
  "vldrw.32 q0, [" sums "]\n"                                 \
  "vadd.i32 q0, q0, %[a]\n"                                   \
  "vstrw.32 %q[zero], [" sums "], #16\n"

/* `store`: q0, a word of four channels' bytes a pixel. */
#define REQUANTIZE(read, store)                                                                                                \
  __asm__ volatile("1: ldrd %[a], %[b], [%[state], #32]\n"                                                                    \
                   "ldrd %[sums0], %[sums1], [%[state], #40]\n"                                                               \
                   "vldrh.16 q2, [%[a]], #16\n"                                                                               \
                   "vmovlb.s16 q0, q2\n"                                                                                      \
                   "vshl.i32 q1, q2, #4\n"                                                                                    \
                   "vshl.s32 q0, %[sums1]\n"                                                                                  \
                   "vshr.u32 q2, q2, #28\n"                                                                                   \
                   "vshr.u32 q1, q1, #20\n"                                                                                   \
                   "vsub.i32 q2, %q[shift], q2\n"                                                                             \
                   "vshl.u32 q1, q1, q2\n"                                                                                    \
                   "vldrw.32 q2, [%[b]]\n"                                                                                    \
                   "vadd.i32 q0, q0, q2\n"                                                                                    \
                   "vst20.32 {q0, q1}, [%[state]]\n"                                                                          \
                   "vst21.32 {q0, q1}, [%[state]]\n"                                                                          \
                   "add %[b], %[sums0]\n"                                                                                     \
                   "strd %[a], %[b], [%[state], #32]\n"                                                                       \
                   "ldrd %[sums0], %[to], [%[state], #48]\n"                                                                  \
                   "ldr %[a], [%[state], #56]\n"                                                                              \
                   "add %[b], %[to], #4\n"                                                                                    \
                   "add %[sums1], %[sums0], %[a]\n"                                                                           \
                   "add %[sums2], %[sums1], %[a]\n"                                                                           \
                   "add %[sums3], %[sums2], %[a]\n"                                                                           \
                   "add %[a], %[sums3], %[a]\n"                                                                               \
                   "strd %[a], %[b], [%[state], #48]\n"                                                                       \
                   "dlstp.32 lr, %[pixels]\n"                                                                                 \
                   "2:\n" CHANNEL("0", read, "vqmovnb.s32 q1, q0\n") CHANNEL("2", read, "vqmovnt.s32 q1, q0\n")               \
                   CHANNEL("1", read, "vqmovnb.s32 q2, q0\n") CHANNEL("3", read, "vqmovnt.s32 q2, q0\n")                      \
                   "vqadd.s16 q1, q1, %[zero_point]\n"                                                                        \
                   "vqadd.s16 q2, q2, %[zero_point]\n"                                                                        \
                   "vqmovnb.s16 q0, q1\n"                                                                                     \
                   "vqmovnt.s16 q0, q2\n"                                                                                     \
                   "vmax.s8 q0, q0, %q[minimum]\n"                                                                            \
                   "vmin.s8 q0, q0, %q[maximum]\n" store                                                                      \
                   "add %[to], %[step]\n"                                                                                     \
                   "letp lr, 2b\n"                                                                                            \
                   "ldr %[a], [%[state], #60]\n"                                                                              \
                   "subs %[a], #4\n"                                                                                          \
                   "str %[a], [%[state], #60]\n"                                                                              \
                   "bne 1b\n"                                                                                                 \
                   : [sums0] "=&r"(sums0), [sums1] "=&r"(sums1), [sums2] "=&r"(sums2), [sums3] "=&r"(sums3), [to] "=&r"(to),  \
                     [a] "=&r"(a), [b] "=&r"(b)                                                                               \
                   : [state] "r"(&now), [pixels] "r"(pixels), [acc_shift] "r"(-how->acc_shift),                               \
                     [zero_point] "r"((int32_t)how->output_zero_point), [step] "r"(4u * rows), [shift] "w"(shift),            \
                     [zero] "w"(vdupq_n_u32(0u)), [minimum] "w"(vdupq_n_s8(how->output_min)),                                 \
                     [maximum] "w"(vdupq_n_s8(how->output_max)), [pixel] "w"(vmulq_n_u32(vidupq_n_u32(0u, 1), rows))          \
                   : "q0", "q1", "q2", "lr", "cc", "memory")

/* The greater of a byte of q0 and what is stored; then it is the next byte's turn. */
#define MAX_BYTE                       \
  "vldrb.u32 q1, [%[to], %q[pixel]]\n" \
  "vmax.s8 q1, q1, q0\n"               \
  "vshr.u32 q0, q0, #8\n"              \
  "vstrb.32 q1, [%[to], %q[pixel]]\n"  \
  "add %[to], #1\n"

/* Four channels at a time: (v * m + 2^(s - 1)) >> s is VQRDMULH of v and m << (31 - s). */
void lutra_requantize8_mve(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *share, uint32_t rows,
                           uint32_t *sums, uint32_t pitch, uint32_t pixels, uint32_t pool, uint32_t max, int8_t *output) {
  static const uint32_t nothing[4] = {0u, 0u, 0u, 0u};
  if (rows < 4u || how->output_shift < 12u) {
    lutra_requantize8_reference(how, channels, share, rows, sums, pitch, pixels, pool, max, output);
    return;
  }
  const uint32_t words = ((rows | (uintptr_t)output) & 3u) == 0u, size = rows * pitch;
  if (pool > 1u) {
    pitch = pool_columns(rows, sums, pitch, pixels, pool);
  }
  state now; /* scales are set on the way */
  now.channels = channels;
  now.share = share != NULL ? share : nothing;
  now.share_step = share != NULL ? 16u : 0u;
  now.bias_shift = how->bias_shift;
  now.sums = sums;
  now.output = output;
  now.pitch = 4u * pitch;
  now.rows = rows & ~3u;
  const int32x4_t shift = vdupq_n_s32(31 - how->output_shift);
  uint32_t sums0, sums1, sums2, sums3, to, a, b;
  if (words && !max) {
    REQUANTIZE(READ_AND_CLEAR, "vstrw.32 q0, [%[to], %q[pixel]]\n");
  } else {
    if (!max) {
      memset(output, INT8_MIN, pixels * rows);
    }
    for (uint32_t last = rows - 4u;;) {
      REQUANTIZE(READ, MAX_BYTE MAX_BYTE MAX_BYTE MAX_BYTE "sub %[to], #4\n");
      if ((rows & 3u) == 0u || now.channels == channels + rows) {
        break;
      }
      now.channels = channels + last; /* the last four channels, some of them again */
      now.share = share != NULL ? share + last : nothing;
      now.sums = sums + last * pitch;
      now.output = output + last;
      now.rows = 4u;
    }
  }
  if (pool > 1u || !words || max) {
    lutra_clear8_mve(sums, size);
  }
}
#endif
