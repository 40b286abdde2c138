/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"

#if !defined(LUTRA_PORTABLE) && defined(__GNUC__) && defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
void lutra_add_products(uint32_t *sums, const int8_t *weights, int32_t factor, uint32_t count) {
  __asm__ volatile("wlstp.32 lr, %[count], 2f\n"
                   "1: vldrw.32 q0, [%[sums]]\n"
                   "vldrb.s32 q1, [%[weights]], #4\n"
                   "vmla.s32 q0, q1, %[factor]\n"
                   "vstrw.32 q0, [%[sums]], #16\n"
                   "letp lr, 1b\n"
                   "2:\n"
                   : [sums] "+r"(sums), [weights] "+l"(weights)
                   : [factor] "r"(factor), [count] "r"(count)
                   : "q0", "q1", "lr", "memory");
}
#else
void lutra_add_products(uint32_t *sums, const int8_t *weights, int32_t factor, uint32_t count) {
  do {
    *sums++ += (uint32_t)(factor * *weights++);
  } while (--count > 0u);
}
#endif
