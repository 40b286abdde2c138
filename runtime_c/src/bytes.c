/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"

#if !defined(LUTRA_PORTABLE) && defined(__GNUC__) && defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define VECTORS
#elif !defined(LUTRA_PORTABLE) && defined(__GNUC__) && defined(__ARM_FEATURE_UNALIGNED) && defined(__thumb2__)
#define WORDS
#endif

/* Stores are volatile: compilers know loops that copy and clear, and would call libc for them. */

#if defined(VECTORS)
void lutra_copy_bytes(void *to, const void *from, uint32_t count) {
  __asm__ volatile("wlstp.8 lr, %[count], 2f\n"
                   "1: vldrb.8 q0, [%[from]], #16\n"
                   "vstrb.8 q0, [%[to]], #16\n"
                   "letp lr, 1b\n"
                   "2:\n"
                   : [to] "+r"(to), [from] "+r"(from)
                   : [count] "r"(count)
                   : "q0", "lr", "memory");
}

void lutra_fill(void *to, int8_t byte, uint32_t count) {
  __asm__ volatile("vdup.8 q0, %[byte]\n"
                   "wlstp.8 lr, %[count], 2f\n"
                   "1: vstrb.8 q0, [%[to]], #16\n"
                   "letp lr, 1b\n"
                   "2:\n"
                   : [to] "+r"(to)
                   : [byte] "r"(byte), [count] "r"(count)
                   : "q0", "lr", "memory");
}

void lutra_clear(uint32_t *words, uint32_t count) {
  __asm__ volatile("vmov.i32 q0, #0\n"
                   "wlstp.32 lr, %[count], 2f\n"
                   "1: vstrw.32 q0, [%[words]], #16\n"
                   "letp lr, 1b\n"
                   "2:\n"
                   : [words] "+r"(words)
                   : [count] "r"(count)
                   : "q0", "lr", "memory");
}
#elif defined(WORDS)
/* Words at any address, then bytes. `word`, `byte`: loads of them. */
#define MOVE(word, byte)                              \
  __asm__ volatile("subs %[count], %[count], #4\n"    \
                   "blo 2f\n"                         \
                   "1:\n" word                        \
                   "subs %[count], %[count], #4\n"    \
                   "str %[value], [%[to]], #4\n"      \
                   "bhs 1b\n"                         \
                   "2: adds %[count], %[count], #4\n" \
                   "beq 4f\n"                         \
                   "3:\n" byte                        \
                   "subs %[count], %[count], #1\n"    \
                   "strb %[value], [%[to]], #1\n"     \
                   "bne 3b\n"                         \
                   "4:\n"                             \
                   : [to] "+r"(to), [from] "+r"(from), [count] "+l"(count), [value] "+r"(value) \
                   :                                  \
                   : "cc", "memory")

void lutra_copy_bytes(void *to, const void *from, uint32_t count) {
  uint32_t value = 0u;
  MOVE("ldr %[value], [%[from]], #4\n", "ldrb %[value], [%[from]], #1\n");
}

void lutra_fill(void *to, int8_t byte, uint32_t count) {
  uint32_t value = (uint8_t)byte * 0x01010101u, from = 0u;
  MOVE("", "");
}

void lutra_clear(uint32_t *words, uint32_t count) {
  volatile uint32_t *word = words;
  for (; (count & 3u) != 0u; count--) {
    *word++ = 0u;
  }
  for (; count > 0u; count -= 4u) {
    word[0] = 0u;
    word[1] = 0u;
    word[2] = 0u;
    word[3] = 0u;
    word += 4;
  }
}
#else
void lutra_copy_bytes(void *to, const void *from, uint32_t count) {
  volatile uint8_t *output = to;
  const uint8_t *input = from;
  while (count > 0u) {
    count--;
    output[count] = input[count];
  }
}

void lutra_fill(void *to, int8_t byte, uint32_t count) {
  volatile int8_t *output = to;
  while (count > 0u) {
    count--;
    output[count] = byte;
  }
}

void lutra_clear(uint32_t *words, uint32_t count) {
  volatile uint32_t *word = words;
  do {
    *word++ = 0u;
  } while (--count > 0u);
}
#endif

void lutra_keep_greatest(int8_t *output, const int8_t *values, uint32_t count) {
  do {
    const int8_t value = *values++;
    if (value > *output) {
      *output = value;
    }
    output++;
  } while (--count > 0u);
}
