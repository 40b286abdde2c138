/* SPDX-License-Identifier: Apache-2.0 */
/* Says which case of which loop runs, and where it differs from the reference: no libc, for the smallest board. */
#ifndef LUTRA_TESTS_REPORT_H
#define LUTRA_TESTS_REPORT_H

#include <stdint.h>

/* Of the platform: board.c or host.c. */
void print(const char *text);

/* A case's random numbers depend on nothing but its loop and number. */
void begin_case(const char *loop, uint32_t number);

/* What the case calls the loop with. */
void describe(const char *name, int32_t value);

/* The cases so far whose reports say something is wrong. */
uint32_t failures(void);

void report(const char *what);

/* Reports the first value that differs. */
void compare_words(const char *what, const uint32_t *actual, const uint32_t *expected, uint32_t count);
void compare_halfwords(const char *what, const int16_t *actual, const int16_t *expected, uint32_t count);
void compare_bytes(const char *what, const int8_t *actual, const int8_t *expected, uint32_t count);

#endif
