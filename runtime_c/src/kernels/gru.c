/* SPDX-License-Identifier: Apache-2.0 */
#include "recurrent.h"

void lutra_gru_step(lutra_recurrence *now) {
  const uint32_t units = now->layer->in_c;
  const uint16_t *const tangents = now->tangents;
  const lutra_step step = lutra_next_step(now, 2u * units);
  for (uint32_t n = 0u; n < units; n++) {
    const int32_t *const parts = step.parts + n;
    const int32_t reset = lutra_sigmoid(tangents, parts[0]), update = lutra_sigmoid(tangents, parts[units]);
    const int32_t before = ((reset >> 3) * parts[2u * units] + (1 << 11)) >> 12;
    const int32_t sum = lutra_input_part(now->layer, step.input[2u * units + n]) + before;
    const int32_t state = (update * now->state[n] + (32768 - update) * lutra_tanh(tangents, 2 * sum) + (1 << 14)) >> 15;
    now->state[n] = (int16_t)state;
    now->hidden[n] = step.output[n] = lutra_clamp((state + 128) >> 8, INT8_MIN, INT8_MAX);
  }
}
