/* SPDX-License-Identifier: Apache-2.0 */
#include "recurrent.h"

void lutra_lstm_step(lutra_recurrence *now) {
  const uint32_t units = now->layer->in_c;
  for (uint32_t n = 0u; n < units; n++) {
    const int32_t enter = lutra_gate(now, n), forget = lutra_gate(now, units + n);
    const int32_t candidate = lutra_tanh(now->tangents, 2 * lutra_pre_activation(now, 2u * units + n));
    const int32_t cell = (forget * now->state[n] + ((enter * candidate) >> 4) + (1 << 14)) >> 15;
    const int32_t kept = cell < INT16_MIN ? INT16_MIN : cell > INT16_MAX ? INT16_MAX : cell;
    const int32_t out = lutra_gate(now, 3u * units + n); /* reads the input: before the output is written over it */
    now->state[n] = (int16_t)kept;
    lutra_put_hidden(now, n, (out * lutra_tanh(now->tangents, 4 * kept) + (1 << 22)) >> 23);
  }
  now->left--;
}
