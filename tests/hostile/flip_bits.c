/* SPDX-License-Identifier: Apache-2.0 */
/* Flips every bit of the constant objects of the bundle `tiny`, one at a time. parts.h lists them, whose `const` the test has removed, and
 * which are of descriptors. Exits with 0 if all went as it must. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tiny.c"

typedef struct {
  void *data;
  size_t bytes;
  int always_refused; /* by tiny_run */
} part;

static const part parts[] = {
#include "parts.h"
};

#define REQUIRE(condition)                                              \
  if (!(condition)) {                                                   \
    printf("object %zu, bit %zu: not " #condition "\n", p, bit);        \
    return 1;                                                           \
  }

int main(void) {
  /* Each of exact size, so that the sanitizer sees any access outside. */
  int8_t *const arena = aligned_alloc(LUTRA_ARENA_ALIGN, TINY_ARENA_BYTES);
  int8_t *const input = malloc(TINY_INPUT_0_SIZE), *const output = malloc(TINY_OUTPUT_0_SIZE);
  size_t refused = 0, finished = 0;
  memset(input, 77, TINY_INPUT_0_SIZE);
  for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
    for (size_t bit = 0; bit < 8 * parts[p].bytes; bit++) {
      uint8_t *const byte = (uint8_t *)parts[p].data + bit / 8;
      *byte ^= (uint8_t)(1u << bit % 8);
      memset(output, 99, TINY_OUTPUT_0_SIZE);
      const int status = tiny_run1(arena, TINY_ARENA_BYTES, input, output);
      REQUIRE(tiny_check() == LUTRA_ERROR_CORRUPT);
      REQUIRE(status == (parts[p].always_refused ? LUTRA_ERROR_CORRUPT : LUTRA_OK));
      if (status == LUTRA_OK) {
        finished++;
      } else {
        refused++;
        for (size_t i = 0; i < TINY_OUTPUT_0_SIZE; i++) {
          REQUIRE(output[i] == 99);
        }
      }
      *byte ^= (uint8_t)(1u << bit % 8);
      REQUIRE(tiny_check() == LUTRA_OK);
    }
  }
  printf("%zu refused, %zu finished\n", refused, finished);
  free(arena);
  free(input);
  free(output);
  return 0;
}
