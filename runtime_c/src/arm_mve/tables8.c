/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops8.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

void lutra_columns8_mve(const int8_t *x, uint32_t step, uint32_t pixels, uint32_t channels, int16_t *columns) {
  if (step > UINT16_MAX / (LUTRA_PIXELS8 - 1u)) {
    lutra_columns8_reference(x, step, pixels, channels, columns);
    return;
  }
  __asm__ volatile("vctp.16 %[pixels]\n"
                   "dls lr, %[channels]\n"
                   "1: vpst\n"
                   "vldrbt.s16 q0, [%[x], %q[pixel]]\n"
                   "add %[x], #1\n"
                   "vstrh.16 q0, [%[columns]], #16\n"
                   "le lr, 1b\n"
                   : [x] "+r"(x), [columns] "+r"(columns)
                   : [pixels] "r"(pixels), [channels] "r"(channels), [pixel] "w"(vmulq_n_u16(vidupq_n_u16(0u, 1), (uint16_t)step))
                   : "q0", "lr", "memory");
}

/* Vectors are multiplied by the bytes of a codeword, 1, 4 or 8 in a pass over the table; q1 is the entry. */
#define BYTES(j0, j1, j2, j3)                                                                     \
  "ldrsb %[c0], [%[codeword], #" j0 "]\n"                                                         \
  "ldrsb %[c1], [%[codeword], #" j1 "]\n"                                                         \
  "ldrsb %[c2], [%[codeword], #" j2 "]\n"                                                         \
  "ldrsb %[c3], [%[codeword], #" j3 "]\n"
#define MULTIPLY "vldrh.16 q0, [%[x]]\nvmul.i16 q1, q0, %[c0]\n"
#define ADD(at, c) "vldrh.16 q0, [%[x], #" at "]\nvmla.s16 q1, q0, %[" c "]\n"
#define REST ADD("16", "c1") ADD("32", "c2") ADD("48", "c3")
#define READ "vldrh.16 q1, [%[table]]\n"

#define PASS(entry)                                                                                                           \
  __asm__ volatile("dls lr, %[codewords]\n"                                                                                   \
                   "1:\n" entry                                                                                               \
                   "vstrh.16 q1, [%[table]], #16\n"                                                                           \
                   "add %[codeword], %[d]\n"                                                                                  \
                   "le lr, 1b\n"                                                                                              \
                   : [codeword] "+r"(codeword), [table] "+r"(table), [c0] "=&r"(c0), [c1] "=&r"(c1), [c2] "=&r"(c2),          \
                     [c3] "=&r"(c3)                                                                                           \
                   : [x] "r"(columns), [d] "r"(d), [codewords] "r"(codewords)                                                 \
                   : "q0", "q1", "lr", "memory")

void lutra_build_tables8_mve(const int8_t *codebook, uint32_t codewords, uint32_t d, const int16_t *columns, uint32_t count,
                             int16_t *tables) {
  for (; count > 0u; count--) {
    for (uint32_t j = 0u, step; j < d; j += step) {
      const int8_t *codeword = codebook + j;
      int16_t *table = tables;
      uint32_t c0, c1, c2, c3;
      if (j == 0u && d >= 8u) {
        PASS(BYTES("0", "1", "2", "3") MULTIPLY REST BYTES("4", "5", "6", "7") ADD("64", "c0") ADD("80", "c1") ADD("96", "c2")
                 ADD("112", "c3"));
        step = 8u;
      } else if (d - j >= 4u) {
        if (j == 0u) {
          PASS(BYTES("0", "1", "2", "3") MULTIPLY REST);
        } else {
          PASS(BYTES("0", "1", "2", "3") READ ADD("0", "c0") REST);
        }
        step = 4u;
      } else {
        if (j == 0u) {
          PASS("ldrsb %[c0], [%[codeword]]\n" MULTIPLY);
        } else {
          PASS("ldrsb %[c0], [%[codeword]]\n" READ ADD("0", "c0"));
        }
        step = 1u;
      }
      columns += LUTRA_PIXELS8 * step;
    }
    tables += LUTRA_PIXELS8 * codewords;
  }
}
#endif
