/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__GNUC__) && !defined(__clang__) && !defined(__OPTIMIZE__)
#pragma GCC optimize("O1") /* -O0 leaves too few registers to the assembly below */
#endif
#include "../loops8.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

void lutra_expand8_mve(const uint8_t *indices, uint32_t index_bits, uint32_t codewords, uint32_t count, uint32_t rows,
                       uint32_t lanes, uint32_t shift, uint16_t *offsets, uint32_t step) {
  const uint16x8_t lane = vidupq_n_u16(0u, 1), table = vshrq_n_u16(lane, 2), subvector = vandq_u16(lane, vdupq_n_u16(3u));
  const uint16x8_t entries = vaddq_u16(vmulq_n_u16(table, (uint16_t)(4u * codewords)), subvector);
  const uint16x8_t starts = vaddq_n_u16(vmulq_n_u16(entries, (uint16_t)(2u * lanes)), (uint16_t)shift);
  const uint16x8_t mask = vdupq_n_u16((uint16_t)(codewords - 1u));
#define EXPAND(load, row_bytes)                                                                              \
  __asm__ volatile("vctp.16 %[count]\n"                                                                      \
                   "dls lr, %[rows]\n"                                                                       \
                   "1: vpst\n" load                                                                             \
                   "vand q0, q0, %q[mask]\n"                                                                 \
                   "vmul.i16 q0, q0, %[entry]\n"                                                             \
                   "add %[indices], %[bytes]\n"                                                              \
                   "vadd.i16 q0, q0, %q[starts]\n"                                                           \
                   "vpst\n"                                                                                  \
                   "vstrht.16 q0, [%[offsets]]\n"                                                            \
                   "add %[offsets], %[step]\n"                                                               \
                   "le lr, 1b\n"                                                                             \
                   : [indices] "+l"(indices), [offsets] "+r"(offsets)                                        \
                   : [rows] "r"(rows), [count] "r"(count), [bytes] "r"(row_bytes),                      \
                     [step] "r"(2u * step), [entry] "r"(8u * lanes), [spread] "r"(0x1001u), [mask] "w"(mask), \
                     [starts] "w"(starts)                                                                    \
                   : "q0", "lr", "memory")
  if (index_bits == 4u) {
    /* Two indices a byte go to the halves of a 32-bit lane. */
    EXPAND("vldrbt.u32 q0, [%[indices]]\n"
           "vmul.i32 q0, q0, %[spread]\n",
           (count + 1u) >> 1);
  } else {
    EXPAND("vldrbt.u16 q0, [%[indices]]\n", count);
  }
}

void lutra_clear8_mve(uint32_t *sums, uint32_t count) {
  __asm__ volatile("dlstp.32 lr, %[count]\n"
                   "1: vstrw.32 %q[zero], [%[sums]], #16\n"
                   "letp lr, 1b\n"
                   : [sums] "+r"(sums)
                   : [count] "r"(count), [zero] "w"(vdupq_n_u32(0u))
                   : "lr", "memory");
}

/* Lanes 4 * half .. + 3 of an entry, widened as they are read, to sums q`half`. */
#define ADD(p, half, at, free)                       \
  "vldrh.s32 " free ", [%[" p "], #" at "]\n"        \
  "vadd.i32 " half ", " half ", " free "\n"
#define ADD1(p) ADD(p, "q0", "0", "q2") ADD(p, "q1", "8", "q3")
#define ADD2(p) ADD(p, "q0", "0", "q4") ADD(p, "q1", "8", "q5") ADD(p, "q2", "16", "q4") ADD(p, "q3", "24", "q5")

/* A row of sums stays in registers for all its lookups; the next four offsets, in a and b, are read ahead. */
#define LOOKUPS(read, add, write, ...)                                                                        \
  __asm__ volatile("ldrd %[a], %[b], [%[offsets]], #8\n"                                                      \
                   "1: dls lr, %[fours]\n" read                                                               \
                   "2: uxtah %[p0], %[tables], %[a]\n"                                                        \
                   "add %[p1], %[tables], %[a], lsr #16\n"                                                    \
                   "uxtah %[p2], %[tables], %[b]\n"                                                           \
                   "add %[p3], %[tables], %[b], lsr #16\n"                                                    \
                   "ldrd %[a], %[b], [%[offsets]], #8\n" add("p0") add("p1") add("p2") add("p3")              \
                   "le lr, 2b\n"                                                                              \
                   "subs %[rows], #1\n" write                                                                 \
                   "add %[sums], %[pitch]\n"                                                                  \
                   "bne 1b\n"                                                                                 \
                   : [offsets] "+r"(offsets), [sums] "+r"(sums), [rows] "+r"(rows), [p0] "=&l"(p0), [p1] "=&l"(p1), \
                     [p2] "=&l"(p2), [p3] "=&l"(p3), [a] "=&r"(a), [b] "=&r"(b)                               \
                   : [tables] "r"(tables), [pitch] "r"(4u * pitch), [fours] "r"(fours)                        \
                   : __VA_ARGS__, "lr", "cc", "memory")

void lutra_add_lookups8_mve(const uint16_t *offsets, uint32_t fours, const int16_t *tables, uint32_t vectors, uint32_t *sums,
                            uint32_t pitch, uint32_t rows) {
  uint32_t p0, p1, p2, p3, a, b;
  if (vectors == 1u) {
    LOOKUPS("vldrw.32 q0, [%[sums]]\n"
            "vldrw.32 q1, [%[sums], #16]\n",
            ADD1,
            "vstrw.32 q0, [%[sums]]\n"
            "vstrw.32 q1, [%[sums], #16]\n",
            "q0", "q1", "q2", "q3");
  } else {
    LOOKUPS("vldrw.32 q0, [%[sums]]\n"
            "vldrw.32 q1, [%[sums], #16]\n"
            "vldrw.32 q2, [%[sums], #32]\n"
            "vldrw.32 q3, [%[sums], #48]\n",
            ADD2,
            "vstrw.32 q0, [%[sums]]\n"
            "vstrw.32 q1, [%[sums], #16]\n"
            "vstrw.32 q2, [%[sums], #32]\n"
            "vstrw.32 q3, [%[sums], #48]\n",
            "q0", "q1", "q2", "q3", "q4", "q5");
  }
}
#endif
