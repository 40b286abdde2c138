/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrent layers, step by step: SPEC.md, section 7. A kernel computes the sums of a step, then the cell's function does the rest. */
#ifndef LUTRA_RECURRENT_H
#define LUTRA_RECURRENT_H

#include "lutra/lutra_recurrent.h"

#include "../scale.h"
#include "coding.h"

typedef struct {
  const lutra_recurrent *layer;
  const lutra_channel *channels;
  const uint16_t *tangents;
  const int8_t *input;
  int8_t *output;
  uint32_t left;       /* steps */
  int16_t *state;      /* of an LSTM the cells, 2^-11; of a GRU the hidden state, 2^-15 */
  int8_t *hidden;      /* the hidden state, 2^-7 */
  uint32_t *sums;      /* of weights and hidden state, at the beginning of the linear layer's scratch memory */
  lutra_linear linear; /* of weights and hidden state: sizes and coding alone */
} lutra_recurrence;

/* Where a step's values are. */
typedef struct {
  const int8_t *input;
  int8_t *output;
  const int32_t *parts; /* a of SPEC.md, or r; 2^-12 */
} lutra_step;

/* `states`: 2 of an LSTM, 1 of a GRU. */
void lutra_begin_recurrence(lutra_recurrence *now, const lutra_recurrent *layer, const lutra_channel *channels, const uint16_t *tangents,
                            const uint16_t *initial, uint32_t states, const int8_t *input, int8_t *output, void *scratch);

/* From `sums` to the next hidden state. */
void lutra_lstm_step(lutra_recurrence *now);
void lutra_gru_step(lutra_recurrence *now);

/* Makes of the sums what the hidden state adds to each gate's pre-activation; of the first rows, `whole`, the pre-activations. */
lutra_step lutra_next_step(lutra_recurrence *now, uint32_t whole);

/* tanh of x in units of 2^-13, -32767 to 32767. */
int32_t lutra_tanh(const uint16_t *tangents, int32_t x);

/* The sigmoid of a pre-activation, 0 to 32767. */
static inline int32_t lutra_sigmoid(const uint16_t *tangents, int32_t a) {
  return (32768 + lutra_tanh(tangents, a)) >> 1;
}

/* A value of the input in units of 2^-12. */
static inline int32_t lutra_input_part(const lutra_recurrent *how, int8_t value) {
  return lutra_scale(value - how->input_zero_point, how->input_multiplier, how->input_shift, 0);
}

static inline int32_t lutra_limit(int32_t value, int32_t limit) {
  return value < -limit ? -limit : value > limit ? limit : value;
}

#endif
