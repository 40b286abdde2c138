/* SPDX-License-Identifier: Apache-2.0 */
#include "recurrent.h"

void lutra_begin_recurrence(lutra_recurrence *now, const lutra_recurrent *layer, const lutra_channel *channels, const uint16_t *tangents,
                            const uint16_t *initial, uint32_t states, const int8_t *input, int8_t *output, void *scratch) {
  const uint32_t units = layer->in_c, step = layer->initial;
  const uint16_t *const last = initial + (states - 1u) * units * step;
  now->layer = layer;
  now->channels = channels;
  now->tangents = tangents;
  now->input = input;
  now->output = output;
  now->left = layer->steps;
  now->state = scratch;
  now->hidden = (int8_t *)(now->state + units);
  now->sums = (uint32_t *)scratch + LUTRA_RECURRENT_STATE_BYTES(units) / sizeof(uint32_t);
  now->linear.in_c = layer->in_c;
  now->linear.out_c = layer->out_c;
  now->linear.log2_codewords = layer->log2_codewords;
  now->linear.subvector = layer->subvector;
  now->linear.index_bits = layer->index_bits;
  for (uint32_t n = 0u; n < units; n++) {
    now->state[n] = (int16_t)last[n * step];
    now->hidden[n] = lutra_clamp(((int16_t)initial[n * step] + 128) >> 8, INT8_MIN, INT8_MAX);
  }
}

lutra_step lutra_next_step(lutra_recurrence *now, uint32_t whole) {
  const lutra_recurrent how = *now->layer; /* for all the compiler knows, the sums might be the layer */
  const lutra_channel *const channels = now->channels;
  const uint32_t time = how.reverse != 0u ? now->left - 1u : (uint32_t)how.steps - now->left;
  const int8_t *const input = now->input + time * how.out_c;
  uint32_t *const sums = now->sums;
  int32_t *const parts = (int32_t *)sums;
  for (uint32_t n = 0u; n < how.out_c; n++) {
    const lutra_channel channel = channels[n];
    const int32_t sum = (int32_t)(sums[n] + ((uint32_t)channel.bias << how.bias_shift));
    const uint32_t multiplier = channel.multiplier & 0x0FFFu, shift = how.output_shift + ((uint32_t)channel.multiplier >> 12);
    const int32_t part = lutra_limit(lutra_scale(sum >> how.acc_shift, multiplier, shift, 0), (1 << 18) - 1);
    parts[n] = n < whole ? part + lutra_input_part(&how, input[n]) : part;
  }
  now->left--;
  return (lutra_step){input, now->output + (how.sequence != 0u ? time * how.in_c : 0u), parts};
}

int32_t lutra_tanh(const uint16_t *tangents, int32_t x) {
  const int32_t size = lutra_limit(x < 0 ? -x : x, 65535);
  const int32_t low = tangents[size >> 9] & INT16_MAX, high = tangents[(size >> 9) + 1] & INT16_MAX;
  const int32_t y = low + (((high - low) * (size & 511) + 256) >> 9);
  return x < 0 ? -y : y;
}
