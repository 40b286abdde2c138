/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

void lutra_depthwise_reference(const int8_t *input, uint32_t input_stride, const int8_t *weights, uint32_t weights_stride,
                               uint32_t height, uint32_t width, uint32_t channels, uint32_t *sums) {
  for (; height > 0u; height--) {
    for (uint32_t x = 0u; x < width; x++) {
      for (uint32_t c = 0u; c < channels; c++) {
        sums[c] += (uint32_t)(input[x * channels + c] * weights[x * channels + c]);
      }
    }
    input += input_stride;
    weights += weights_stride;
  }
}
