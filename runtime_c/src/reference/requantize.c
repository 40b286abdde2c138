/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"
#include "../scale.h"

static int8_t requantize(const lutra_requantization *how, lutra_channel channel, uint32_t sum) {
  const int32_t accumulator = (int32_t)(sum + ((uint32_t)channel.bias << how->bias_shift));
  const uint32_t multiplier = channel.multiplier & 0x0FFFu, shift = how->output_shift + ((uint32_t)channel.multiplier >> 12);
  /* The last bit that goes rounds: only the product may wrap. */
  const int32_t product = (int32_t)((uint32_t)(accumulator >> how->acc_shift) * multiplier);
  const int32_t rounded = (int32_t)((uint32_t)(product >> (shift - 1u)) + 1u) >> 1;
  return lutra_clamp(how->output_zero_point + rounded, how->output_min, how->output_max);
}

void lutra_requantize_reference(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums,
                                uint32_t count, uint32_t pixels, int8_t *output, uint32_t step) {
  for (; pixels > 0u; pixels--) {
    for (uint32_t n = 0u; n < count; n++) {
      output[n] = requantize(how, channels[n], *sums++);
    }
    output += step;
  }
}
