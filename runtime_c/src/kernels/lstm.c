/* SPDX-License-Identifier: Apache-2.0 */
#include "recurrent.h"

void lutra_lstm_step(lutra_recurrence *now) {
  const uint32_t units = now->layer->in_c;
  const uint16_t *const tangents = now->tangents;
  const lutra_step step = lutra_next_step(now, 4u * units);
  for (uint32_t n = 0u; n < units; n++) {
    const int32_t *const a = step.parts + n;
    const int32_t enter = lutra_sigmoid(tangents, a[0]), forget = lutra_sigmoid(tangents, a[units]);
    const int32_t candidate = lutra_tanh(tangents, 2 * a[2u * units]), out = lutra_sigmoid(tangents, a[3u * units]);
    const int32_t sum = (forget * now->state[n] + ((enter * candidate) >> 4) + (1 << 14)) >> 15;
    const int32_t cell = sum < INT16_MIN ? INT16_MIN : sum > INT16_MAX ? INT16_MAX : sum;
    now->state[n] = (int16_t)cell;
    now->hidden[n] = step.output[n] = lutra_clamp((out * lutra_tanh(tangents, 4 * cell) + (1 << 22)) >> 23, INT8_MIN, INT8_MAX);
  }
}
