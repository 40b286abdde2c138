/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

/* Row by row, a gather whose lane i reads table i. */
void lutra_add_lookups_mve(const uint8_t *indices, uint32_t index_bits, uint32_t codewords, const int16_t *tables, uint32_t count,
                           uint32_t *sums, uint32_t rows) {
  const uint16x8_t starts = vmulq_n_u16(vidupq_n_u16(0u, 1), (uint16_t)codewords);
  uint32_t sum;
  if (index_bits == 4u) {
    /* Two indices a byte go to the halves of a 32-bit lane. */
    __asm__ volatile("vctp.16 %[count]\n"
                     "dls lr, %[rows]\n"
                     "1: vpst\n"
                     "vldrbt.u32 q0, [%[indices]]\n"
                     "vmul.i32 q0, q0, %[spread]\n"
                     "vand q0, q0, %q[low]\n"
                     "vadd.i16 q0, q0, %q[starts]\n"
                     "vpst\n"
                     "vldrht.u16 q1, [%[tables], q0, uxtw #1]\n"
                     "ldr %[sum], [%[sums]]\n"
                     "add %[indices], %[row_bytes]\n"
                     "vaddva.s16 %[sum], q1\n"
                     "str %[sum], [%[sums]], #4\n"
                     "le lr, 1b\n"
                     : [indices] "+l"(indices), [sums] "+r"(sums), [sum] "=&Te"(sum)
                     : [tables] "r"(tables), [rows] "r"(rows), [count] "r"(count), [row_bytes] "r"((count + 1u) >> 1),
                       [spread] "r"(0x1001u), [low] "w"(vdupq_n_u16(15u)), [starts] "w"(starts)
                     : "q0", "q1", "lr", "memory");
  } else if (count == LUTRA_GROUP) {
    __asm__ volatile("dls lr, %[rows]\n"
                     "1: vldrb.u16 q0, [%[indices]], #8\n"
                     "vadd.i16 q0, q0, %q[starts]\n"
                     "vldrh.u16 q1, [%[tables], q0, uxtw #1]\n"
                     "ldr %[sum], [%[sums]]\n"
                     "vaddva.s16 %[sum], q1\n"
                     "str %[sum], [%[sums]], #4\n"
                     "le lr, 1b\n"
                     : [indices] "+l"(indices), [sums] "+r"(sums), [sum] "=&Te"(sum)
                     : [tables] "r"(tables), [rows] "r"(rows), [starts] "w"(starts)
                     : "q0", "q1", "lr", "memory");
  } else {
    __asm__ volatile("vctp.16 %[count]\n"
                     "dls lr, %[rows]\n"
                     "1: ldr %[sum], [%[sums]]\n"
                     "vpstttt\n"
                     "vldrbt.u16 q0, [%[indices]]\n"
                     "vaddt.i16 q0, q0, %q[starts]\n"
                     "vldrht.u16 q1, [%[tables], q0, uxtw #1]\n"
                     "vaddvat.s16 %[sum], q1\n"
                     "add %[indices], %[count]\n"
                     "str %[sum], [%[sums]], #4\n"
                     "le lr, 1b\n"
                     : [indices] "+l"(indices), [sums] "+r"(sums), [sum] "=&Te"(sum)
                     : [tables] "r"(tables), [rows] "r"(rows), [count] "r"(count), [starts] "w"(starts)
                     : "q0", "q1", "lr", "memory");
  }
}

/* Two rows a gather, of one in the lower four lanes. */
void lutra_add_pair_lookups_mve(const uint8_t *indices, const int16_t *pairs, uint32_t *sums, uint32_t rows) {
  const uint16x8_t starts = vshlq_n_u16(vandq_u16(vidupq_n_u16(0u, 1), vdupq_n_u16(3u)), 8);
  const uint32_t couples = rows >> 1;
  if (couples > 0u) {
    uint32_t sum, next;
    __asm__ volatile("dls lr, %[couples]\n"
                     "1: vldrb.u16 q0, [%[indices]], #8\n"
                     "vadd.i16 q0, q0, %q[starts]\n"
                     "vldrh.u16 q1, [%[pairs], q0, uxtw #1]\n"
                     "ldrd %[sum], %[next], [%[sums]]\n"
                     "vctp.16 %[four]\n"
                     "vpste\n"
                     "vaddvat.s16 %[sum], q1\n"
                     "vaddvae.s16 %[next], q1\n"
                     "strd %[sum], %[next], [%[sums]], #8\n"
                     "le lr, 1b\n"
                     : [indices] "+l"(indices), [sums] "+r"(sums), [sum] "=&Te"(sum), [next] "=&Te"(next)
                     : [pairs] "r"(pairs), [couples] "r"(couples), [four] "r"(4u), [starts] "w"(starts)
                     : "q0", "q1", "lr", "memory");
  }
  if ((rows & 1u) != 0u) {
    lutra_add_pair_lookups_reference(indices, pairs, sums, 1u);
  }
}
#endif
