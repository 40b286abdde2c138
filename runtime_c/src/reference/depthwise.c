/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

void lutra_depthwise_reference(const lutra_windows *windows, const int8_t *input, uint32_t pixels, int8_t *output) {
  const uint32_t channels = windows->channels;
  for (; pixels > 0u; pixels--) {
    const int8_t *row = input, *weights = windows->weights;
    for (uint32_t c = 0u; c < channels; c++) {
      windows->sums[c] = windows->begin[c];
    }
    for (uint32_t y = 0u; y < windows->height; y++) {
      const int8_t *x = row;
      for (uint32_t tap = 0u; tap < windows->width; tap++) {
        for (uint32_t c = 0u; c < channels; c++) {
          windows->sums[c] += (uint32_t)(*x++ * *weights++);
        }
      }
      row += windows->row;
    }
    lutra_requantize_reference(windows->how, windows->records, windows->sums, channels, 1u, output, 0u);
    input += windows->input_step;
    output += windows->output_step;
  }
}
