/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops8.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

/* Four channels of eight pixels at a time, `fours` times; returns where the vectors end. Naked, as it takes all low registers. */
#define UNUSED __attribute__((unused))
LUTRA_NAKED static int16_t *transpose_fours(const int8_t *x UNUSED, uint32_t step UNUSED, uint32_t fours UNUSED,
                                                       int16_t *columns UNUSED) {
  __asm__("push {r4, r5, r6, r7, lr}\n"
          "vpush {d8, d9, d10, d11}\n"
          "dls lr, r2\n"
          "mov r12, r3\n"
          "adds r2, r0, r1\n"
          "adds r3, r2, r1\n"
          "adds r4, r3, r1\n"
          "adds r5, r4, r1\n"
          "adds r6, r5, r1\n"
          "adds r7, r6, r1\n"
          "adds r1, r7, r1\n"
          "1: vldrb.s32 q0, [r0], #4\n"
          "vldrb.s32 q4, [r2], #4\n"
          "vmovnt.i32 q0, q4\n"
          "vldrb.s32 q1, [r3], #4\n"
          "vldrb.s32 q5, [r4], #4\n"
          "vmovnt.i32 q1, q5\n"
          "vldrb.s32 q2, [r5], #4\n"
          "vldrb.s32 q4, [r6], #4\n"
          "vmovnt.i32 q2, q4\n"
          "vldrb.s32 q3, [r7], #4\n"
          "vldrb.s32 q5, [r1], #4\n"
          "vmovnt.i32 q3, q5\n"
          "vst40.32 {q0, q1, q2, q3}, [r12]\n"
          "vst41.32 {q0, q1, q2, q3}, [r12]\n"
          "vst42.32 {q0, q1, q2, q3}, [r12]\n"
          "vst43.32 {q0, q1, q2, q3}, [r12]!\n"
          "le lr, 1b\n"
          "mov r0, r12\n"
          "vpop {d8, d9, d10, d11}\n"
          "pop {r4, r5, r6, r7, pc}\n");
}

/* Channels x[0], x[1], .. of the pixels as vectors; zeros for those beyond `present`. */
static int16_t *transpose(const lutra_pixels8 *pixels, const int8_t *x, uint32_t present, uint32_t count, int16_t *columns) {
  uint32_t c = 0u;
  if (pixels->count == LUTRA_PIXELS8 && present >= 4u) {
    columns = transpose_fours(x, pixels->step, present >> 2, columns);
    c = present & ~3u;
  }
  if (c < present) {
    const mve_pred16_t there = vctp16q(pixels->count);
    const uint16x8_t pixel = vmulq_n_u16(vidupq_n_u16(0u, 1), (uint16_t)pixels->step);
    const int16x8_t rest = vpselq_s16(vdupq_n_s16(0), vdupq_n_s16(pixels->zero_point), there);
    for (; c < present; c++) {
      vst1q_s16(columns, vaddq_s16(vldrbq_gather_offset_z_s16(x + c, pixel, there), rest));
      columns += LUTRA_PIXELS8;
    }
  }
  for (; c < count; c++) {
    vst1q_s16(columns, vdupq_n_s16(0));
    columns += LUTRA_PIXELS8;
  }
  return columns;
}

/* The columns of `count` bytes of a codeword, from j on: [i][count]. */
static void gather(const lutra_pixels8 *pixels, uint32_t d, uint32_t channels, uint32_t j, uint32_t count, int16_t *columns) {
  const int8_t *x = pixels->x + j;
  channels = channels > j ? channels - j : 0u;
  if (d == count) { /* adjacent channels */
    count *= LUTRA_SUBVECTORS8;
    transpose(pixels, x, channels < count ? channels : count, count, columns);
    return;
  }
  for (uint32_t i = 0u; i < LUTRA_SUBVECTORS8; i++) {
    columns = transpose(pixels, x, channels < count ? channels : count, count, columns);
    channels = channels > d ? channels - d : 0u;
    x += d;
  }
}

/* Byte c of a codeword times column `at` bytes further, of all four subvectors; q1 .. q4 are their entries. */
#define FIRST(c, at0, at1, at2, at3)            \
  "vldrw.32 q0, [%[columns], #" at0 "]\n"       \
  "vmul.i16 q1, q0, %[" c "]\n"                 \
  "vldrw.32 q5, [%[columns], #" at1 "]\n"       \
  "vmul.i16 q2, q5, %[" c "]\n"                 \
  "vldrw.32 q0, [%[columns], #" at2 "]\n"       \
  "vmul.i16 q3, q0, %[" c "]\n"                 \
  "vldrw.32 q5, [%[columns], #" at3 "]\n"       \
  "vmul.i16 q4, q5, %[" c "]\n"
#define MORE(c, at0, at1, at2, at3)             \
  "vldrw.32 q0, [%[columns], #" at0 "]\n"       \
  "vmla.s16 q1, q0, %[" c "]\n"                 \
  "vldrw.32 q5, [%[columns], #" at1 "]\n"       \
  "vmla.s16 q2, q5, %[" c "]\n"                 \
  "vldrw.32 q0, [%[columns], #" at2 "]\n"       \
  "vmla.s16 q3, q0, %[" c "]\n"                 \
  "vldrw.32 q5, [%[columns], #" at3 "]\n"       \
  "vmla.s16 q4, q5, %[" c "]\n"
/* Columns of 8 bytes, of 4, and of 1. */
#define LOWER_OF_EIGHT \
  FIRST("c0", "0", "128", "256", "384") MORE("c1", "16", "144", "272", "400") \
  MORE("c2", "32", "160", "288", "416") MORE("c3", "48", "176", "304", "432")
#define UPPER_OF_EIGHT \
  MORE("c0", "64", "192", "320", "448") MORE("c1", "80", "208", "336", "464") \
  MORE("c2", "96", "224", "352", "480") MORE("c3", "112", "240", "368", "496")
#define FIRST_FOUR \
  FIRST("c0", "0", "64", "128", "192") MORE("c1", "16", "80", "144", "208") \
  MORE("c2", "32", "96", "160", "224") MORE("c3", "48", "112", "176", "240")
#define MORE_FOUR \
  MORE("c0", "0", "64", "128", "192") MORE("c1", "16", "80", "144", "208") \
  MORE("c2", "32", "96", "160", "224") MORE("c3", "48", "112", "176", "240")
#define FIRST_ONE \
  FIRST("c0", "0", "16", "32", "48")
#define MORE_ONE \
  MORE("c0", "0", "16", "32", "48")
#define BYTE "ldrsb %[c0], [%[codeword]]\n"
#define BYTES(at0, at1, at2, at3)               \
  "ldrsb %[c0], [%[codeword], #" at0 "]\n"      \
  "ldrsb %[c1], [%[codeword], #" at1 "]\n"      \
  "ldrsb %[c2], [%[codeword], #" at2 "]\n"      \
  "ldrsb %[c3], [%[codeword], #" at3 "]\n"
#define READ                                    \
  "vldrh.16 q1, [%[table]]\n"                   \
  "add %[table], %[entry]\n"                    \
  "vldrh.16 q2, [%[table]]\n"                   \
  "add %[table], %[entry]\n"                    \
  "vldrh.16 q3, [%[table]]\n"                   \
  "add %[table], %[entry]\n"                    \
  "vldrh.16 q4, [%[table]]\n"                   \
  "sub %[table], %[entry]\n"                    \
  "sub %[table], %[table], %[entry], lsl #1\n"

/* A pass over the table. */
#define PASS(sum)                                                                                                             \
  __asm__ volatile("dls lr, %[codewords]\n"                                                                                   \
                   "1:\n" sum                                                                                                 \
                   "vstrh.16 q1, [%[table]]\n"                                                                                \
                   "add %[table], %[entry]\n"                                                                                 \
                   "vstrh.16 q2, [%[table]]\n"                                                                                \
                   "add %[table], %[entry]\n"                                                                                 \
                   "vstrh.16 q3, [%[table]]\n"                                                                                \
                   "add %[table], %[entry]\n"                                                                                 \
                   "vstrh.16 q4, [%[table]]\n"                                                                                \
                   "add %[table], %[entry]\n"                                                                                 \
                   "add %[codeword], %[d]\n"                                                                                  \
                   "le lr, 1b\n"                                                                                              \
                   : [codeword] "+r"(codeword), [table] "+r"(table), [c0] "=&r"(c0), [c1] "=&r"(c1), [c2] "=&r"(c2),          \
                     [c3] "=&r"(c3)                                                                                           \
                   : [columns] "r"(columns), [d] "r"(d), [codewords] "r"(codewords), [entry] "r"(2u * lanes)                  \
                   : "q0", "q1", "q2", "q3", "q4", "q5", "lr", "memory")

/* 8, 4 or 1 bytes of a codeword a pass. */
void lutra_build_tables8_mve(const int8_t *codebook, uint32_t codewords, uint32_t d, const lutra_pixels8 *pixels,
                             uint32_t channels, int16_t *tables, uint32_t lanes, void *scratch) {
  if (pixels->step > UINT16_MAX / (LUTRA_PIXELS8 - 1u)) { /* lanes of the gather */
    lutra_build_tables8_reference(codebook, codewords, d, pixels, channels, tables, lanes, scratch);
    return;
  }
  int16_t *const columns = scratch;
  for (uint32_t j = 0u, step; j < d; j += step) {
    const int8_t *codeword = codebook + j;
    int16_t *table = tables;
    int32_t c0, c1, c2, c3;
    step = j == 0u && d >= 8u ? 8u : d - j >= 4u ? 4u : 1u;
    gather(pixels, d, channels, j, step, columns);
    if (step == 8u) {
      PASS(BYTES("0", "1", "2", "3") LOWER_OF_EIGHT BYTES("4", "5", "6", "7") UPPER_OF_EIGHT);
    } else if (step == 4u) {
      if (j == 0u) {
        PASS(BYTES("0", "1", "2", "3") FIRST_FOUR);
      } else {
        PASS(BYTES("0", "1", "2", "3") READ MORE_FOUR);
      }
    } else {
      if (j == 0u) {
        PASS(BYTE FIRST_ONE);
      } else {
        PASS(BYTE READ MORE_ONE);
      }
    }
  }
}
#endif
