/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_kernels.h"

void lutra_select_int8(const lutra_select *layer, const uint8_t *mask, const int8_t *input, int8_t *output) {
  const uint32_t in_c = layer->in_c, out_c = layer->out_c;
  uint32_t count = 0u, bits = 0u;
  for (uint32_t i = 0u; i < in_c && count < out_c; i++, bits >>= 1) {
    if (i % 8u == 0u) {
      bits = *mask++;
    }
    if ((bits & 1u) != 0u) {
      output[count++] = input[i];
    }
  }
  /* A damaged mask may have fewer bits. */
  while (count < out_c) {
    output[count++] = 0;
  }
}
