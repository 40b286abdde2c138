/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "lutra/lutra_recurrent.h"

#include "harness.h"
#include "naive.h"
#include "random_tables.h"

enum { LSTM = 4, GRU = 3 }; /* gates */

typedef struct {
  int gates;
  lutra_recurrent layer;
  const lutra_channel *channels;
  const uint16_t *tangents, *initial;
  const int8_t *input;
} recurrence;

static int64_t limited(int64_t value, int64_t low, int64_t high) { return value < low ? low : value > high ? high : value; }

static int64_t naive_tanh(const uint16_t *tangents, int64_t x) {
  const int64_t size = limited(x < 0 ? -x : x, 0, 65535), place = size / 512;
  const int64_t low = tangents[place] % 32768, high = tangents[place + 1] % 32768;
  const int64_t y = low + floor_shift((high - low) * (size % 512) + 256, 9);
  return x < 0 ? -y : y;
}

static int64_t naive_sigmoid(const uint16_t *tangents, int64_t a) { return floor_shift(32768 + naive_tanh(tangents, a), 1); }

static int64_t naive_input(const lutra_recurrent *layer, int8_t x) {
  return floor_shift((int64_t)(x - layer->input_zero_point) * layer->input_multiplier + ((int64_t)1 << (layer->input_shift - 1)),
                     layer->input_shift);
}

/* What the hidden state adds to row n. */
static int64_t naive_part(const recurrence *r, const int8_t *weights, const int8_t *hidden, int n) {
  const lutra_recurrent *const layer = &r->layer;
  int64_t sum = (int64_t)r->channels[n].bias * ((int64_t)1 << layer->bias_shift);
  for (int i = 0; i < layer->in_c; i++) {
    sum += weights[n * layer->in_c + i] * hidden[i];
  }
  const int64_t v = floor_shift(sum, layer->acc_shift), shift = layer->output_shift + r->channels[n].multiplier / 4096;
  CHECK(v < 1 << 19 && v > -(1 << 19));
  return limited(floor_shift(v * (r->channels[n].multiplier % 4096) + ((int64_t)1 << (shift - 1)), (int)shift), 1 - (1 << 18),
                 (1 << 18) - 1);
}

/* SPEC.md, section 7. `weights`: [out_c][in_c]. */
static void naive_recurrent(const recurrence *r, const int8_t *weights, int8_t *output) {
  const lutra_recurrent *const layer = &r->layer;
  const int units = layer->in_c, own = layer->initial;
  int8_t *const hidden = buffer((size_t)units);
  int32_t *const state = buffer((size_t)units * sizeof *state), *const part = buffer(layer->out_c * sizeof *part);
  for (int n = 0; n < units; n++) {
    const int16_t h = (int16_t)r->initial[own * n], c = (int16_t)r->initial[own * (n + (r->gates == LSTM ? units : 0))];
    hidden[n] = (int8_t)limited(floor_shift(h + 128, 8), -128, 127);
    state[n] = c;
  }
  for (int step = 0; step < layer->steps; step++) {
    const int t = layer->reverse ? layer->steps - 1 - step : step;
    const int8_t *const x = r->input + t * layer->out_c;
    for (int n = 0; n < layer->out_c; n++) {
      part[n] = (int32_t)naive_part(r, weights, hidden, n);
    }
    for (int n = 0; n < units; n++) {
      int64_t gate[4], h;
      for (int i = 0; i < r->gates; i++) {
        gate[i] = naive_input(layer, x[i * units + n]) + (r->gates == GRU && i == 2 ? 0 : part[i * units + n]);
      }
      const int64_t first = naive_sigmoid(r->tangents, gate[0]), second = naive_sigmoid(r->tangents, gate[1]);
      if (r->gates == LSTM) {
        const int64_t kept = second * state[n] + floor_shift(first * naive_tanh(r->tangents, 2 * gate[2]), 4);
        state[n] = (int32_t)limited(floor_shift(kept + 16384, 15), -32768, 32767);
        h = floor_shift(naive_sigmoid(r->tangents, gate[3]) * naive_tanh(r->tangents, 4 * (int64_t)state[n]) + (1 << 22), 23);
      } else {
        const int64_t more = floor_shift(floor_shift(first, 3) * part[2 * units + n] + 2048, 12);
        const int64_t candidate = naive_tanh(r->tangents, 2 * (gate[2] + more));
        state[n] = (int32_t)floor_shift(second * state[n] + (32768 - second) * candidate + 16384, 15);
        h = floor_shift(state[n] + 128, 8);
      }
      hidden[n] = (int8_t)limited(h, -128, 127);
    }
    memcpy(output + (layer->sequence ? t * units : 0), hidden, (size_t)units);
  }
}

/* `real`: the table is much like tanh; else any. Inputs and states are extreme now and then. */
static recurrence random_recurrence(int gates, int units, int real) {
  const int steps = between(1, 6), states = gates == LSTM ? 2 : 1;
  lutra_channel *const channels = buffer((size_t)(gates * units) * sizeof *channels);
  uint16_t *const tangents = buffer(129 * sizeof *tangents), *const initial = buffer((size_t)(states * units) * sizeof *initial);
  for (int n = 0; n < gates * units; n++) {
    channels[n] = (lutra_channel){(int16_t)between(-32768, 32767), (uint16_t)(between(0, 4095) + 4096 * between(0, 3))};
  }
  for (int k = 0; k <= 128; k++) {
    tangents[k] = (uint16_t)(real ? 32767 * k / (k + 6) : between(0, 65535));
  }
  for (int n = 0; n < states * units; n++) {
    initial[n] = (uint16_t)between(0, 65535);
  }
  const recurrence r = {
      .gates = gates,
      .layer = {.steps = (uint16_t)steps, .in_c = (uint16_t)units, .out_c = (uint16_t)(gates * units),
                .input_multiplier = (uint16_t)between(0, 65535), .input_zero_point = (int8_t)between(-128, 127),
                .input_shift = (uint8_t)between(5, 12), .output_shift = (uint8_t)between(6, 12), .bias_shift = (uint8_t)between(0, 2),
                .initial = (uint8_t)between(0, 1), .reverse = (uint8_t)between(0, 1), .sequence = (uint8_t)between(0, 1)},
      .channels = channels,
      .tangents = tangents,
      .initial = initial,
      .input = between(0, 3) ? random_bytes((size_t)(steps * gates * units)) : extreme_input(steps * gates * units),
  };
  return r;
}

static int outputs_of(const recurrence *r) { return (r->layer.sequence ? r->layer.steps : 1) * r->layer.in_c; }

static void check(const recurrence *r, const int8_t *weights, const int8_t *output) {
  int8_t *const expected = buffer((size_t)outputs_of(r));
  naive_recurrent(r, weights, expected);
  check_outputs(output, expected, outputs_of(r), -128, 127);
}

/* What begins as the input ends as the output, if time does not run backwards. */
static void check_in_place(const recurrence *r, const int8_t *weights, int8_t *memory) {
  if (!r->layer.reverse) {
    void *const scratch = buffer(LUTRA_RECURRENT_SCRATCH_BYTES(r->layer.in_c, r->layer.out_c));
    (r->gates == LSTM ? lutra_lstm_dense : lutra_gru_dense)(&r->layer, weights, r->channels, r->tangents, r->initial, memory, memory,
                                                             scratch);
    check(r, weights, memory);
  }
}

static void check_dense(const recurrence *r, const int8_t *weights) {
  int8_t *const output = random_bytes((size_t)outputs_of(r));
  void *const scratch = buffer(LUTRA_RECURRENT_SCRATCH_BYTES(r->layer.in_c, r->layer.out_c));
  (r->gates == LSTM ? lutra_lstm_dense : lutra_gru_dense)(&r->layer, weights, r->channels, r->tangents, r->initial, r->input, output,
                                                           scratch);
  check(r, weights, output);
  const size_t size = (size_t)(r->layer.steps * r->layer.out_c);
  check_in_place(r, weights, memcpy(random_bytes(size), r->input, size));
}

static void dense_follows_the_specification(void) {
  const recurrence r = random_recurrence(between(GRU, LSTM), between(1, 20), 1);
  check_dense(&r, random_bytes((size_t)(r.layer.in_c * r.layer.out_c)));
}

static void coded_follows_the_specification(void) {
  recurrence r = random_recurrence(between(GRU, LSTM), between(1, 20), 1);
  lutra_recurrent *const layer = &r.layer;
  const int pairs = between(0, 1), limit = pairs ? L1_PAIRS : L1;
  layer->log2_codewords = (uint8_t)(pairs ? 4 : between(1, 8));
  layer->index_bits = pairs || (layer->log2_codewords <= 4 && between(0, 1)) ? 4 : 8;
  layer->subvector = (uint8_t)between(1, 16);
  const int codewords = 1 << layer->log2_codewords, subvectors = (layer->in_c + layer->subvector - 1) / layer->subvector;
  const int8_t *const codebook = random_codebook(codewords, layer->subvector, limit);
  const uint8_t *const indices = random_indices(layer->out_c * subvectors, codewords);
  const uint8_t *const packed = packed_indices(indices, layer->out_c, 1, subvectors, layer->index_bits);
  const int8_t *const weights = decoded_weights(indices, layer->out_c, 1, layer->in_c, codebook, layer->subvector);
  int8_t *const output = random_bytes((size_t)outputs_of(&r));
  void *const lut = buffer(LUTRA_RECURRENT_LUT_SCRATCH_BYTES(layer->in_c, layer->out_c, 1u << layer->log2_codewords, layer->index_bits));
  (r.gates == LSTM ? lutra_lstm_lut : lutra_gru_lut)(layer, codebook, packed, r.channels, r.tangents, r.initial, r.input, output, lut);
  check(&r, weights, output);
  void *const sums = buffer(LUTRA_RECURRENT_DECODE_SCRATCH_BYTES(layer->in_c, layer->out_c));
  (r.gates == LSTM ? lutra_lstm_decode : lutra_gru_decode)(layer, codebook, packed, r.channels, r.tangents, r.initial, r.input, output,
                                                            sums);
  check(&r, weights, output);
  if (pairs) {
    void *const tables = buffer(LUTRA_RECURRENT_PAIRS_SCRATCH_BYTES(layer->in_c, layer->out_c));
    (r.gates == LSTM ? lutra_lstm_pairs : lutra_gru_pairs)(layer, codebook, packed, r.channels, r.tangents, r.initial, r.input, output,
                                                            tables);
    check(&r, weights, output);
  }
}

/* A cell that grows by almost one a step stays at the end of its range, 16. */
static void a_cell_saturates(void) {
  recurrence r = random_recurrence(LSTM, 1, 1);
  static const lutra_channel LUTRA_ALIGNED channels[4] = {{0, 0}, {0, 0}, {0, 0}, {0, 0}};
  const uint16_t initial[2] = {0, 32000};
  int8_t input[6 * 4], output[6];
  memset(input, 127, sizeof input);
  r.channels = channels;
  r.initial = initial;
  r.input = input;
  r.layer.steps = 6;
  r.layer.initial = r.layer.sequence = 1;
  r.layer.reverse = 0;
  r.layer.input_zero_point = 0;
  r.layer.input_multiplier = 32768;
  r.layer.input_shift = 6;
  check_dense(&r, (const int8_t *)"\0\0\0\0");
  void *const scratch = buffer(LUTRA_RECURRENT_SCRATCH_BYTES(1u, 4u));
  lutra_lstm_dense(&r.layer, (const int8_t *)"\0\0\0\0", channels, r.tangents, initial, input, output, scratch);
  CHECK(*(const int16_t *)scratch == INT16_MAX);
}

/* Shapes and shifts are right, all else is noise: no access outside a buffer, nothing undefined. */
static void damaged_tables_do_no_harm(void) {
  recurrence r = random_recurrence(between(GRU, LSTM), between(1, 20), 0);
  r.layer.bias_shift = (uint8_t)between(0, 16);
  r.layer.acc_shift = (uint8_t)between(0, 16);
  r.layer.output_shift = (uint8_t)between(1, 15);
  r.layer.input_shift = (uint8_t)between(1, 30);
  r.layer.log2_codewords = (uint8_t)between(1, 8);
  r.layer.index_bits = r.layer.log2_codewords <= 4 && between(0, 1) ? 4 : 8;
  r.layer.subvector = (uint8_t)between(1, 16);
  const int subvectors = (r.layer.in_c + r.layer.subvector - 1) / r.layer.subvector;
  const int row_bytes = r.layer.index_bits == 8 ? subvectors : (subvectors + 1) / 2;
  const int8_t *const codebook = random_bytes((size_t)(r.layer.subvector << r.layer.log2_codewords));
  const uint8_t *const indices = (const uint8_t *)random_bytes((size_t)(row_bytes * r.layer.out_c));
  int8_t *const output = random_bytes((size_t)outputs_of(&r));
  void *const scratch =
      buffer(LUTRA_RECURRENT_LUT_SCRATCH_BYTES(r.layer.in_c, r.layer.out_c, 1u << r.layer.log2_codewords, r.layer.index_bits));
  (r.gates == LSTM ? lutra_lstm_lut : lutra_gru_lut)(&r.layer, codebook, indices, r.channels, r.tangents, r.initial, r.input, output,
                                                      scratch);
  void *const decoded = buffer(LUTRA_RECURRENT_DECODE_SCRATCH_BYTES(r.layer.in_c, r.layer.out_c));
  (r.gates == LSTM ? lutra_lstm_decode : lutra_gru_decode)(&r.layer, codebook, indices, r.channels, r.tangents, r.initial, r.input,
                                                            output, decoded);
}

int main(void) {
  RUN(300, dense_follows_the_specification);
  check_lively();
  RUN(300, coded_follows_the_specification);
  check_lively();
  RUN(1, a_cell_saturates);
  RUN(300, damaged_tables_do_no_harm);
  return 0;
}
