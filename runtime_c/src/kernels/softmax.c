/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_kernels.h"

void lutra_softmax_int8(const lutra_softmax *layer, const uint16_t *exponentials, const int8_t *input, int8_t *output) {
  const uint32_t channels = layer->channels;
  for (uint32_t i = 0u; i < layer->pixels; i++) {
    int32_t largest = INT8_MIN;
    for (uint32_t c = 0u; c < channels; c++) {
      largest = input[c] > largest ? input[c] : largest;
    }
    uint32_t sum = 0u;
    for (uint32_t c = 0u; c < channels; c++) {
      sum += exponentials[largest - input[c]];
    }
    sum += sum == 0u; /* corrupted tables only */
    for (uint32_t c = 0u; c < channels; c++) {
      /* 256 times the exponential by the sum, rounded. By counting: '/' would link a routine on CPUs without the instruction. */
      int32_t share = -128;
      for (uint32_t rest = exponentials[largest - input[c]] * 256u + sum / 2u; rest >= sum && share < INT8_MAX; rest -= sum) {
        share++;
      }
      output[c] = (int8_t)share;
    }
    input += channels;
    output += channels;
  }
}
