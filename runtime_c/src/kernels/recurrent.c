/* SPDX-License-Identifier: Apache-2.0 */
#include "recurrent.h"

#include "../scale.h"

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

uint32_t lutra_time(const lutra_recurrence *now) {
  return now->layer->reverse != 0u ? now->left - 1u : now->layer->steps - now->left;
}

void lutra_put_hidden(lutra_recurrence *now, uint32_t n, int32_t hidden) {
  const uint32_t row = now->layer->sequence != 0u ? lutra_time(now) * now->layer->in_c : 0u;
  now->hidden[n] = now->output[row + n] = lutra_clamp(hidden, INT8_MIN, INT8_MAX);
}

int32_t lutra_input_part(const lutra_recurrence *now, uint32_t n) {
  const lutra_recurrent *const how = now->layer;
  const int32_t x = now->input[lutra_time(now) * how->out_c + n] - how->input_zero_point;
  return lutra_scale(x, how->input_multiplier, how->input_shift, 0);
}

int32_t lutra_recurrent_part(const lutra_recurrence *now, uint32_t n) {
  const lutra_recurrent *const how = now->layer;
  const lutra_channel channel = now->channels[n];
  const int32_t sum = (int32_t)(now->sums[n] + ((uint32_t)channel.bias << how->bias_shift));
  const uint32_t multiplier = channel.multiplier & 0x0FFFu, shift = how->output_shift + ((uint32_t)channel.multiplier >> 12);
  return lutra_limit(lutra_scale(sum >> how->acc_shift, multiplier, shift, 0), (1 << 18) - 1);
}

int32_t lutra_pre_activation(const lutra_recurrence *now, uint32_t n) {
  return lutra_limit(lutra_input_part(now, n) + lutra_recurrent_part(now, n), INT16_MAX);
}

int32_t lutra_gate(const lutra_recurrence *now, uint32_t n) {
  return (32768 + lutra_tanh(now->tangents, lutra_pre_activation(now, n))) >> 1;
}

int32_t lutra_tanh(const uint16_t *tangents, int32_t x) {
  const int32_t size = lutra_limit(x < 0 ? -x : x, 65535);
  const int32_t low = tangents[size >> 9] & INT16_MAX, high = tangents[(size >> 9) + 1] & INT16_MAX;
  const int32_t y = low + (((high - low) * (size & 511) + 256) >> 9);
  return x < 0 ? -y : y;
}
