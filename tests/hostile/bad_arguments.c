/* SPDX-License-Identifier: Apache-2.0 */
/* Calls tiny_run with arguments that it must refuse; exits with the number of the first that went wrong. */
#include <stdlib.h>
#include <string.h>

#include "tiny.c"

#define REFUSED(number, status, arena, bytes, inputs, outputs) \
  if (tiny_run(arena, bytes, inputs, outputs) != (status) || memcmp(output, before, sizeof output) != 0) return number

int main(void) {
  int8_t *const arena = aligned_alloc(LUTRA_ARENA_ALIGN, TINY_ARENA_BYTES + LUTRA_ARENA_ALIGN);
  int8_t input[TINY_INPUT_0_SIZE] = {0}, output[TINY_OUTPUT_0_SIZE], before[TINY_OUTPUT_0_SIZE];
  const int8_t *const inputs[] = {input}, *const no_input[] = {NULL};
  int8_t *const outputs[] = {output}, *const no_output[] = {NULL};
  memset(output, 99, sizeof output);
  memset(before, 99, sizeof before);
  REFUSED(1, LUTRA_ERROR_NULL, NULL, TINY_ARENA_BYTES, inputs, outputs);
  REFUSED(2, LUTRA_ERROR_NULL, arena, TINY_ARENA_BYTES, NULL, outputs);
  REFUSED(3, LUTRA_ERROR_NULL, arena, TINY_ARENA_BYTES, inputs, NULL);
  REFUSED(4, LUTRA_ERROR_NULL, arena, TINY_ARENA_BYTES, no_input, outputs);
  REFUSED(5, LUTRA_ERROR_NULL, arena, TINY_ARENA_BYTES, inputs, no_output);
  REFUSED(6, LUTRA_ERROR_ARENA, arena, TINY_ARENA_BYTES - 1, inputs, outputs);
  REFUSED(7, LUTRA_ERROR_ARENA, arena, 0, inputs, outputs);
  REFUSED(8, LUTRA_ERROR_ALIGNMENT, arena + 1, TINY_ARENA_BYTES, inputs, outputs);
  REFUSED(9, LUTRA_ERROR_ALIGNMENT, arena + 2, TINY_ARENA_BYTES, inputs, outputs);
  if (tiny_run(arena + LUTRA_ARENA_ALIGN, TINY_ARENA_BYTES, inputs, outputs) != LUTRA_OK) return 10;
  if (memcmp(output, before, sizeof output) == 0) return 11;
  free(arena);
  return 0;
}
