/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_operators.h"

void lutra_lookup_int8(const lutra_lookup *layer, const int8_t *lookup, const int8_t *input, int8_t *output) {
  const int8_t *const of_zero = lookup - INT8_MIN;
  const int8_t *const end = input + layer->size_low + ((uint32_t)layer->size_high << 16);
  while (input != end) {
    *output++ = of_zero[*input++];
  }
}
