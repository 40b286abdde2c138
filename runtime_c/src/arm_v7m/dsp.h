/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions of the DSP extension, and words at any address. */
#ifndef LUTRA_ARM_V7M_DSP_H
#define LUTRA_ARM_V7M_DSP_H

#include <stdint.h>
#include <string.h>

static inline uint32_t load_word(const int8_t *bytes) {
  uint32_t word;
  memcpy(&word, bytes, sizeof word);
  return word;
}

#if defined(__ARM_FEATURE_DSP)
/* Bytes 0 and 2 as int16. */
static inline uint32_t even_bytes(uint32_t word) {
  uint32_t halves;
  __asm__("sxtb16 %0, %1" : "=r"(halves) : "r"(word));
  return halves;
}

/* Bytes 1 and 3 as int16. */
static inline uint32_t odd_bytes(uint32_t word) {
  uint32_t halves;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(word));
  return halves;
}

static inline int32_t dot(uint32_t x, uint32_t y, int32_t sum) {
  __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(x), "r"(y));
  return sum;
}
#endif

#endif
