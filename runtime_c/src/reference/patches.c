/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "../loops.h"

void lutra_patch_copy_reference(void *patches, uint32_t length, uint32_t pixel, uint32_t at, const int8_t *x, uint32_t count) {
  memcpy((int8_t *)patches + pixel * length + at, x, count);
}

void lutra_patch_fill_reference(void *patches, uint32_t length, uint32_t pixel, uint32_t at, int8_t value, uint32_t count) {
  memset((int8_t *)patches + pixel * length + at, value, count);
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
