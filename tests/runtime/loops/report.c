/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include "random.h"

static uint32_t failed;
static int failed_here;

static void print_number(int32_t value) {
  char text[12], *start = text + sizeof text - 1;
  uint32_t rest = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
  *start = '\0';
  do {
    *--start = (char)('0' + rest % 10u);
    rest /= 10u;
  } while (rest > 0u);
  if (value < 0) {
    *--start = '-';
  }
  print(start);
}

void begin_case(const char *loop, uint32_t number) {
  uint32_t seed = 2166136261u;
  for (const char *c = loop; *c != '\0'; c++) {
    seed = (seed ^ (uint8_t)*c) * 16777619u;
  }
  seed_random(((seed ^ number) * 2654435761u) | 1u);
  for (int i = 0; i < 4; i++) {
    (void)next_random();
  }
  failed_here = 0;
  print("\n");
  print(loop);
  describe(", case", (int32_t)number);
}

void describe(const char *name, int32_t value) {
  print(name);
  print(" ");
  print_number(value);
  print(" ");
}

uint32_t failures(void) { return failed; }

void report(const char *what) {
  if (!failed_here) {
    failed++;
    failed_here = 1;
  }
  print("\n  FAIL: ");
  print(what);
}

static void report_difference(const char *what, uint32_t index, int32_t actual, int32_t expected) {
  report(what);
  print("[");
  print_number((int32_t)index);
  print("] is ");
  print_number(actual);
  print(", the reference computes ");
  print_number(expected);
}

#define COMPARE(actual, expected, count)                                              \
  for (uint32_t i = 0u; i < (count); i++) {                                           \
    if ((actual)[i] != (expected)[i]) {                                               \
      report_difference(what, i, (int32_t)(actual)[i], (int32_t)(expected)[i]);       \
      return;                                                                         \
    }                                                                                 \
  }

void compare_words(const char *what, const uint32_t *actual, const uint32_t *expected, uint32_t count) {
  COMPARE(actual, expected, count)
}

void compare_halfwords(const char *what, const int16_t *actual, const int16_t *expected, uint32_t count) {
  COMPARE(actual, expected, count)
}

void compare_bytes(const char *what, const int8_t *actual, const int8_t *expected, uint32_t count) {
  COMPARE(actual, expected, count)
}
