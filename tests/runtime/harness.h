/* SPDX-License-Identifier: Apache-2.0 */
/* Checks for the tests of kernels: on the host, or on a board with the loops of its CPU. */
#ifndef LUTRA_TESTS_HARNESS_H
#define LUTRA_TESTS_HARNESS_H

#include "buffers.h"
#include "random.h"

#ifndef TEST_SHARE
#define TEST_SHARE 1 /* emulated boards are slow: of so many runs one */
#endif

#define CHECK(condition) ((condition) ? (void)0 : fail(__FILE__, __LINE__, #condition))

/* Runs a case with the same random numbers every time, `times` times, each with new buffers. */
#define RUN(times, function)                                                    \
  do {                                                                          \
    seed_random(0x2545F491u);                                                   \
    for (int run_ = 0; run_ < ((times) + TEST_SHARE - 1) / TEST_SHARE; run_++) { \
      function();                                                               \
      check_and_free_buffers();                                                 \
    }                                                                           \
    print_line(#function);                                                      \
  } while (0)

/* Of the platform: harness.c or board_harness.c. */
void print_line(const char *text);
__attribute__((noreturn)) void fail(const char *file, int line, const char *condition);

/* Frees all buffers; fails if something was written outside one. */
static inline void check_and_free_buffers(void) { CHECK(free_buffers()); }

#endif
