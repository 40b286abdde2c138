/* SPDX-License-Identifier: Apache-2.0 */
#include "binary.h"

enum { WHOLE = LUTRA_STEPS_CHANNELS | LUTRA_STEPS_PIXELS };

/* How far an input moves from pixel to pixel. */
static uint32_t pixel_step(uint32_t steps, uint32_t channels) {
  if ((steps & LUTRA_STEPS_PIXELS) == 0u) {
    return 0u;
  }
  return (steps & LUTRA_STEPS_CHANNELS) != 0u ? channels : 1u;
}

void lutra_binary_int8(const lutra_binary *layer, const int8_t *a, const int8_t *b, int8_t *output) {
  uint32_t pixels = layer->pixels_low + ((uint32_t)layer->pixels_high << 16), channels = layer->channels;
  if (layer->steps_a == WHOLE && layer->steps_b == WHOLE) { /* then pixels do not matter */
    channels *= pixels;
    pixels = 1u;
  }
  const uint32_t step_a = pixel_step(layer->steps_a, channels), step_b = pixel_step(layer->steps_b, channels);
  for (; pixels > 0u; pixels--) {
    if (layer->function == LUTRA_MULTIPLY) {
      lutra_multiply_row(layer, a, b, output, channels);
    } else {
      lutra_combine_row(layer, a, b, output, channels);
    }
    a += step_a;
    b += step_b;
    output += channels;
  }
}
