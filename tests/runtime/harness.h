/* SPDX-License-Identifier: Apache-2.0 */
/* Checks, random numbers and guarded buffers for the runtime's tests. */
#ifndef LUTRA_TESTS_HARNESS_H
#define LUTRA_TESTS_HARNESS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

/* Runs a case with the same random numbers every time, `times` times, each with new buffers. */
#define RUN(times, function)                       \
  do {                                             \
    seed_random();                                 \
    for (int run_ = 0; run_ < (times); run_++) {   \
      function();                                  \
      check_and_free_buffers();                    \
    }                                              \
    printf("%s\n", #function);                     \
  } while (0)

void seed_random(void);
int32_t between(int32_t low, int32_t high); /* both included */

/* Noise between guards, aligned to 4. AddressSanitizer traps accesses outside it; without that, writes are found at the end. */
void *buffer(size_t bytes);
void check_and_free_buffers(void);

/* Random values, of any alignment. */
int8_t *random_bytes(size_t count);

#endif
