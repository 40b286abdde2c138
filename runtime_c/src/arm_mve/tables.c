/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

/* A codeword meets four subvectors of x, or one, before the next one is read. Lanes beyond d are 0. */
void lutra_build_tables_mve(const int8_t *codebook, uint32_t codewords, uint32_t d, const int8_t *x, uint32_t count,
                            int16_t *tables) {
  const mve_pred16_t some = vctp8q(d);
  for (uint32_t step; count > 0u; count -= step) {
    const int8x16_t x0 = vldrbq_z_s8(x, some);
    const int8_t *codeword = codebook;
    int32_t sum0, sum1;
    step = 1u;
    if (count >= 4u) {
      const int8x16_t x1 = vldrbq_z_s8(x + d, some), x2 = vldrbq_z_s8(x + 2u * d, some), x3 = vldrbq_z_s8(x + 3u * d, some);
      int16_t *table0 = tables, *table1 = table0 + codewords, *table2 = table1 + codewords;
      tables = table2 + codewords;
      __asm__ volatile("vctp.8 %[d]\n"
                       "dls lr, %[codewords]\n"
                       "1: vpst\n"
                       "vldrbt.8 q0, [%[codeword]]\n"
                       "vmladav.s8 %[sum0], q0, %q[x0]\n"
                       "vmladav.s8 %[sum1], q0, %q[x1]\n"
                       "strh %[sum0], [%[table0]], #2\n"
                       "strh %[sum1], [%[table1]], #2\n"
                       "vmladav.s8 %[sum0], q0, %q[x2]\n"
                       "vmladav.s8 %[sum1], q0, %q[x3]\n"
                       "strh %[sum0], [%[table2]], #2\n"
                       "strh %[sum1], [%[table3]], #2\n"
                       "add %[codeword], %[d]\n"
                       "le lr, 1b\n"
                       : [codeword] "+r"(codeword), [table0] "+r"(table0), [table1] "+r"(table1), [table2] "+r"(table2),
                         [table3] "+r"(tables), [sum0] "=&Te"(sum0), [sum1] "=&Te"(sum1)
                       : [d] "r"(d), [codewords] "r"(codewords), [x0] "w"(x0), [x1] "w"(x1), [x2] "w"(x2), [x3] "w"(x3)
                       : "q0", "lr", "memory");
      step = 4u;
    } else {
      __asm__ volatile("vctp.8 %[d]\n"
                       "dls lr, %[codewords]\n"
                       "1: vpst\n"
                       "vldrbt.8 q0, [%[codeword]]\n"
                       "vmladav.s8 %[sum0], q0, %q[x0]\n"
                       "add %[codeword], %[d]\n"
                       "strh %[sum0], [%[table]], #2\n"
                       "le lr, 1b\n"
                       : [codeword] "+r"(codeword), [table] "+r"(tables), [sum0] "=&Te"(sum0)
                       : [d] "r"(d), [codewords] "r"(codewords), [x0] "w"(x0)
                       : "q0", "lr", "memory");
    }
    x += step * d;
  }
}

/* Sixteen entries, of one higher index, at a time. */
void lutra_build_pair_tables_mve(const int16_t *tables, int16_t *pairs) {
  for (uint32_t i = 0u; i < LUTRA_GROUP / 2u; i++) {
    int32_t high;
    __asm__ volatile("vldrh.16 q0, [%[tables]], #16\n"
                     "vldrh.16 q1, [%[tables]], #16\n"
                     "dls lr, %[count]\n"
                     "1: ldrsh %[high], [%[tables]], #2\n"
                     "vadd.i16 q2, q0, %[high]\n"
                     "vstrh.16 q2, [%[pairs]], #16\n"
                     "vadd.i16 q2, q1, %[high]\n"
                     "vstrh.16 q2, [%[pairs]], #16\n"
                     "le lr, 1b\n"
                     : [tables] "+r"(tables), [pairs] "+r"(pairs), [high] "=&r"(high)
                     : [count] "r"(16u)
                     : "q0", "q1", "q2", "lr", "memory");
  }
}
#endif
