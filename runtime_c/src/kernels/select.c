/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_kernels.h"

void lutra_select_int8(const lutra_select *layer, const uint8_t *mask, const int8_t *input, int8_t *output) {
  uint32_t count = 0u, bits = 0u;
  for (uint32_t i = 0u; count < layer->out_c; i++, bits >>= 1) {
    if (i >= layer->in_c) {
      output[count++] = 0; /* a damaged mask may have fewer bits */
      continue;
    }
    if (i % 8u == 0u) {
      bits = *mask++;
    }
    if ((bits & 1u) != 0u) {
      output[count++] = input[i];
    }
  }
}
