/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops8.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

/* Four channels at a time. */
void lutra_add_padding8_mve(const uint32_t *padding, uint32_t step, uint32_t height, uint32_t width, uint32_t *sums, uint32_t pitch,
                            uint32_t rows, uint32_t columns) {
  const uint32x4_t channel = vmulq_n_u32(vidupq_n_u32(0u, 4), pitch);
  const uint32_t row_step = 4u * (step - width * rows);
  for (int32_t left = (int32_t)rows; left > 0; left -= 4) {
    const uint32_t *tap = padding;
    uint32_t *sum = sums;
    uint32_t y = height;
    __asm__ volatile("vctp.32 %[left]\n"
                     "vmov.i32 q0, #0\n"
                     "1: dls lr, %[width]\n"
                     "2: vpst\n"
                     "vldrwt.32 q1, [%[tap]]\n"
                     "add %[tap], %[rows]\n"
                     "vadd.i32 q0, q0, q1\n"
                     "le lr, 2b\n"
                     "add %[tap], %[row_step]\n"
                     "subs %[y], #1\n"
                     "bne 1b\n"
                     "dls lr, %[columns]\n"
                     "3: vpst\n"
                     "vldrwt.32 q1, [%[sum], %q[channel]]\n"
                     "vadd.i32 q1, q1, q0\n"
                     "vpst\n"
                     "vstrwt.32 q1, [%[sum], %q[channel]]\n"
                     "add %[sum], #4\n"
                     "le lr, 3b\n"
                     : [tap] "+r"(tap), [sum] "+r"(sum), [y] "+r"(y)
                     : [left] "r"(left), [width] "r"(width), [rows] "r"(4u * rows), [row_step] "r"(row_step), [columns] "r"(columns),
                       [channel] "w"(channel)
                     : "q0", "q1", "lr", "cc", "memory");
    padding += 4;
    sums += 4u * pitch;
  }
}

/* Sums of a pooling window's columns become their greatest one; zeros follow, up to the end of the last window. */
static void pool_columns(uint32_t rows, uint32_t *sums, uint32_t pitch, uint32_t pixels, uint32_t pool) {
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
    for (uint32_t x = pixels; x < pixels * pool; x++) {
      sums[x] = 0u;
    }
    sums += pitch;
  }
}

/* Four pixels of channel i, to one half of the 16-bit lanes of q1 or q2; what was read becomes 0. */
#define CHANNEL(i, narrow)                                                                                                    \
  "ldrd %[bias], %[multiplier], [%[scales], #8*" i "]\n"                                                                      \
  "vldrw.32 q0, [%[sums" i "]]\n"                                                                                             \
  "vadd.i32 q0, q0, %[bias]\n"                                                                                                \
  "vstrw.32 %q[zero], [%[sums" i "]], #16\n"                                                                                  \
  "vshl.s32 q0, %[acc_shift]\n"                                                                                               \
  "vqrdmulh.s32 q0, q0, %[multiplier]\n" narrow

#define STORE(combine)                                                                                                        \
  __asm__ volatile("dlstp.32 lr, %[pixels]\n"                                                                                 \
                   "1:\n" CHANNEL("0", "vqmovnb.s32 q1, q0\n") CHANNEL("2", "vqmovnt.s32 q1, q0\n")                           \
                   CHANNEL("1", "vqmovnb.s32 q2, q0\n") CHANNEL("3", "vqmovnt.s32 q2, q0\n")                                  \
                   "vmin.s16 q1, q1, %q[maximum]\n"                                                                           \
                   "vmin.s16 q2, q2, %q[maximum]\n"                                                                           \
                   "vmax.s16 q1, q1, %q[minimum]\n"                                                                           \
                   "vmax.s16 q2, q2, %q[minimum]\n"                                                                           \
                   "vadd.i16 q1, q1, %[zero_point]\n"                                                                         \
                   "vadd.i16 q2, q2, %[zero_point]\n"                                                                         \
                   "vmovnb.i16 q0, q1\n"                                                                                      \
                   "vmovnt.i16 q0, q2\n" combine                                                                              \
                   "vstrw.32 q0, [%[output], %q[pixel]]\n"                                                                    \
                   "add %[output], %[step]\n"                                                                                 \
                   "letp lr, 1b\n"                                                                                            \
                   : [sums0] "+r"(sums0), [sums1] "+r"(sums1), [sums2] "+r"(sums2), [sums3] "+r"(sums3), [output] "+r"(to),   \
                     [bias] "=&r"(bias), [multiplier] "=&r"(multiplier)                                                       \
                   : [pixels] "r"(pixels), [scales] "r"(scales), [acc_shift] "r"(acc_shift), [zero_point] "r"(zero_point),    \
                     [step] "r"(4u * rows), [zero] "w"(vdupq_n_u32(0u)), [minimum] "w"(minimum), [maximum] "w"(maximum),      \
                     [pixel] "w"(pixel)                                                                                       \
                   : "q0", "q1", "q2", "lr", "memory")

/* Four channels at a time, whose bytes are stored as a word: (v * m + 2^(s - 1)) >> s is VQRDMULH of v and m << (31 - s). */
void lutra_requantize8_mve(const lutra_requantization *how, const lutra_channel *channels, uint32_t rows, uint32_t *sums,
                           uint32_t pitch, uint32_t pixels, uint32_t pool, uint32_t max, int8_t *output) {
  if ((rows & 3u) != 0u || ((uintptr_t)output & 3u) != 0u || how->output_shift < 12u) {
    lutra_requantize8_reference(how, channels, rows, sums, pitch, pixels, pool, max, output);
    return;
  }
  if (pool > 1u) {
    pool_columns(rows, sums, pitch, pixels, pool);
  }
  const int32_t acc_shift = -how->acc_shift, zero_point = how->output_zero_point;
  const int16x8_t minimum = vdupq_n_s16((int16_t)(how->output_min - zero_point));
  const int16x8_t maximum = vdupq_n_s16((int16_t)(how->output_max - zero_point));
  const uint32x4_t pixel = vmulq_n_u32(vidupq_n_u32(0u, 1), rows);
  const int32x4_t shift = vdupq_n_s32(31 - how->output_shift);
  for (const lutra_channel *const end = channels + rows; channels < end; channels += 4) {
    uint32_t scales[8];
    const uint32x4_t record = vreinterpretq_u32_u16(vldrhq_u16((const uint16_t *)channels));
    uint32x4x2_t scale;
    scale.val[0] = vreinterpretq_u32_s32(vshlq_r_s32(vmovlbq_s16(vreinterpretq_s16_u32(record)), how->bias_shift));
    scale.val[1] = vshlq_u32(vshrq_n_u32(vshlq_n_u32(record, 4), 20),
                             vsubq_s32(shift, vreinterpretq_s32_u32(vshrq_n_u32(record, 28))));
    vst2q_u32(scales, scale);
    uint32_t *sums0 = sums, *sums1 = sums0 + pitch, *sums2 = sums1 + pitch, *sums3 = sums2 + pitch;
    int8_t *to = output;
    uint32_t bias, multiplier;
    if (max) {
      STORE("vldrw.32 q1, [%[output], %q[pixel]]\n"
            "vmax.s8 q0, q0, q1\n");
    } else {
      STORE("");
    }
    sums += 4u * pitch;
    output += 4;
  }
}
#endif
