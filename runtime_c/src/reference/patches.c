/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

void lutra_patch_set_reference(void *patches, uint32_t pair, const int8_t *a, const int8_t *b, uint32_t step, uint32_t run,
                               uint32_t rows) {
  int8_t *to_a = (int8_t *)patches + 2u * pair * rows * run, *to_b = to_a + rows * run;
  for (; rows > 0u; rows--) {
    for (uint32_t i = 0u; i < run; i++) {
      *to_a++ = a[i];
      *to_b++ = b[i];
    }
    a += step;
    b += step;
  }
}

void lutra_patch_dot_reference(const void *patches, uint32_t pixels, const int8_t *weights, uint32_t length, uint32_t rows,
                               uint32_t *sums) {
  const int8_t *patch = patches;
  for (uint32_t p = 0u; p < pixels; p++) {
    lutra_dot_rows_reference(weights, patch, length, rows, sums);
    patch += length;
    sums += rows;
  }
}
