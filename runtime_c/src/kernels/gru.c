/* SPDX-License-Identifier: Apache-2.0 */
#include "recurrent.h"

void lutra_gru_step(lutra_recurrence *now) {
  const uint32_t units = now->layer->in_c;
  for (uint32_t n = 0u; n < units; n++) {
    const int32_t reset = lutra_gate(now, n), update = lutra_gate(now, units + n);
    const int32_t before = ((reset >> 3) * lutra_recurrent_part(now, 2u * units + n) + (1 << 11)) >> 12;
    const int32_t sum = lutra_limit(lutra_input_part(now, 2u * units + n) + before, INT16_MAX);
    const int32_t candidate = lutra_tanh(now->tangents, 2 * sum);
    const int32_t state = (update * now->state[n] + (32768 - update) * candidate + (1 << 14)) >> 15;
    now->state[n] = (int16_t)state;
    lutra_put_hidden(now, n, (state + 128) >> 8);
  }
  now->left--;
}
