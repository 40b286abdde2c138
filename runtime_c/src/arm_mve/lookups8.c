/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops8.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

void lutra_expand8_mve(const uint8_t *indices, uint32_t index_bits, uint32_t codewords, uint32_t count, uint32_t rows,
                       uint16_t *offsets) {
  const uint16x8_t starts = vshlq_n_u16(vmulq_n_u16(vminq_u16(vidupq_n_u16(0u, 1), vdupq_n_u16((uint16_t)count)),
                                                    (uint16_t)codewords), 4);
  const uint16x8_t mask = vpselq_u16(vdupq_n_u16((uint16_t)(codewords - 1u)), vdupq_n_u16(0u), vctp16q(count));
  const uint32_t step = 2u * LUTRA_LOOKUPS8(count);
#define EXPAND(load, row_bytes)                                                      \
  __asm__ volatile("dls lr, %[rows]\n"                                               \
                   "1: vctp.16 %[some]\n" load                                       \
                   "vand q0, q0, %q[mask]\n"                                         \
                   "add %[indices], %[bytes]\n"                                      \
                   "vshl.i16 q0, q0, #4\n"                                           \
                   "vctp.8 %[step]\n"                                                \
                   "vadd.i16 q0, q0, %q[starts]\n"                                   \
                   "vpst\n"                                                          \
                   "vstrht.16 q0, [%[offsets]]\n"                                    \
                   "add %[offsets], %[step]\n"                                       \
                   "le lr, 1b\n"                                                     \
                   : [indices] "+l"(indices), [offsets] "+r"(offsets)                \
                   : [rows] "r"(rows), [some] "r"(count), [bytes] "r"(row_bytes), [step] "r"(step), [spread] "r"(0x1001u), \
                     [mask] "w"(mask), [starts] "w"(starts)                          \
                   : "q0", "lr", "memory")
  if (index_bits == 4u) {
    /* Two indices a byte go to the halves of a 32-bit lane. */
    EXPAND("vpst\n"
           "vldrbt.u32 q0, [%[indices]]\n"
           "vmul.i32 q0, q0, %[spread]\n",
           (count + 1u) >> 1);
  } else {
    EXPAND("vpst\n"
           "vldrbt.u16 q0, [%[indices]]\n",
           count);
  }
}

/* Addresses of four vectors, from four offsets in two words. */
#define ADDRESSES(a, b)                               \
  "uxtah %[p0], %[tables], %[" a "]\n"                \
  "uxtah %[p2], %[tables], %[" b "]\n"                \
  "add %[p1], %[tables], %[" a "], lsr #16\n"         \
  "add %[p3], %[tables], %[" b "], lsr #16\n"

/* Widened as they are read: sums in q0 and q1. */
#define WIDE_FIRST(p)                                 \
  "vldrh.s32 q0, [%[" p "]]\n"                        \
  "vldrw.32 q2, [%[sums]]\n"                          \
  "vadd.i32 q0, q0, q2\n"                             \
  "vldrh.s32 q1, [%[" p "], #8]\n"                    \
  "vldrw.32 q3, [%[sums], #16]\n"                     \
  "vadd.i32 q1, q1, q3\n"
#define WIDE(p)                                       \
  "vldrh.s32 q2, [%[" p "]]\n"                        \
  "vadd.i32 q0, q0, q2\n"                             \
  "vldrh.s32 q3, [%[" p "], #8]\n"                    \
  "vadd.i32 q1, q1, q3\n"
#define WIDE_STORE                                    \
  "vstrw.32 q0, [%[sums]]\n"                          \
  "vstrw.32 q1, [%[sums], #16]\n"                     \
  "add %[sums], %[pitch]\n"
#define WIDE_FOUR WIDE_FIRST("p0") WIDE("p1") WIDE("p2") WIDE("p3")
#define WIDE_MORE WIDE("p0") WIDE("p1") WIDE("p2") WIDE("p3")

/* Four added as int16, then widened, even columns apart from odd ones: q2 and q3. */
#define PACKED_FOUR                                   \
  "vldrh.16 q0, [%[p0]]\n"                            \
  "vldrh.16 q1, [%[p1]]\n"                            \
  "vadd.i16 q0, q0, q1\n"                             \
  "vldrh.16 q1, [%[p2]]\n"                            \
  "vadd.i16 q0, q0, q1\n"                             \
  "vldrh.16 q1, [%[p3]]\n"                            \
  "vadd.i16 q0, q0, q1\n"                             \
  "vld20.32 {q2, q3}, [%[sums]]\n"                    \
  "vmovlb.s16 q1, q0\n"                               \
  "vld21.32 {q2, q3}, [%[sums]]\n"                    \
  "vmovlt.s16 q0, q0\n"                               \
  "vadd.i32 q2, q2, q1\n"                             \
  "vadd.i32 q3, q3, q0\n"
#define PACKED_MORE                                   \
  "vldrh.16 q0, [%[p0]]\n"                            \
  "vldrh.16 q1, [%[p1]]\n"                            \
  "vadd.i16 q0, q0, q1\n"                             \
  "vldrh.16 q1, [%[p2]]\n"                            \
  "vadd.i16 q0, q0, q1\n"                             \
  "vldrh.16 q1, [%[p3]]\n"                            \
  "vadd.i16 q0, q0, q1\n"                             \
  "vmovlb.s16 q1, q0\n"                               \
  "vmovlt.s16 q0, q0\n"                               \
  "vadd.i32 q2, q2, q1\n"                             \
  "vadd.i32 q3, q3, q0\n"
#define PACKED_STORE                                  \
  "vst20.32 {q2, q3}, [%[sums]]\n"                    \
  "vst21.32 {q2, q3}, [%[sums]]\n"                    \
  "add %[sums], %[pitch]\n"

#define FOUR(look, store)                             \
  "dls lr, %[rows]\n"                                 \
  "1: ldrd %[a], %[b], [%[offsets]], #8\n"            \
  ADDRESSES("a", "b") look store                      \
  "le lr, 1b\n"
#define EIGHT(look, more, store)                      \
  "dls lr, %[rows]\n"                                 \
  "1: ldrd %[a], %[b], [%[offsets]], #8\n"            \
  "ldrd %[c], %[d], [%[offsets]], #8\n"               \
  ADDRESSES("a", "b") look ADDRESSES("c", "d") more store \
  "le lr, 1b\n"

#define LOOP(body)                                                                                                       \
  __asm__ volatile(body                                                                                                  \
                   : [offsets] "+r"(offsets), [sums] "+r"(sums), [p0] "=&l"(p0), [p1] "=&l"(p1), [p2] "=&l"(p2),          \
                     [p3] "=&l"(p3), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d)                              \
                   : [tables] "r"(tables), [pitch] "r"(4u * pitch), [rows] "r"(rows)                                     \
                   : "q0", "q1", "q2", "q3", "lr", "memory")

void lutra_add_lookups8_mve(const uint16_t *offsets, uint32_t count, const int16_t *tables, uint32_t packed, uint32_t *sums,
                            uint32_t pitch, uint32_t rows) {
  uint32_t p0, p1, p2, p3, a, b, c, d;
  if (packed) {
    if (count > 4u) {
      LOOP(EIGHT(PACKED_FOUR, PACKED_MORE, PACKED_STORE));
    } else {
      LOOP(FOUR(PACKED_FOUR, PACKED_STORE));
    }
  } else {
    if (count > 4u) {
      LOOP(EIGHT(WIDE_FOUR, WIDE_MORE, WIDE_STORE));
    } else {
      LOOP(FOUR(WIDE_FOUR, WIDE_STORE));
    }
  }
}
#endif
