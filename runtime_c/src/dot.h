/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUTRA_DOT_H
#define LUTRA_DOT_H

#include <stdint.h>

static inline uint32_t lutra_dot(const int8_t *restrict weights, const int8_t *restrict x, uint32_t count) {
  uint32_t sum = 0u;
  for (uint32_t i = 0u; i < count; i++) {
    sum += (uint32_t)(weights[i] * x[i]);
  }
  return sum;
}

#endif
