/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"
#include "../dot.h"

void lutra_dot_rows_reference(const int8_t *weights, const int8_t *x, uint32_t length, uint32_t rows, uint32_t *sums) {
  for (uint32_t n = 0u; n < rows; n++) {
    sums[n] = lutra_dot(weights, x, length);
    weights += length;
  }
}
