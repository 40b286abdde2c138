/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrent layers, step by step: SPEC.md, section 7. A kernel computes the sums of a step, then the cell's function does the rest. */
#ifndef LUTRA_RECURRENT_H
#define LUTRA_RECURRENT_H

#include "linear.h"

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

/* `states`: 2 of an LSTM, 1 of a GRU. */
void lutra_begin_recurrence(lutra_recurrence *now, const lutra_recurrent *layer, const lutra_channel *channels, const uint16_t *tangents,
                            const uint16_t *initial, uint32_t states, const int8_t *input, int8_t *output, void *scratch);

/* From `sums` to the next hidden state. */
void lutra_lstm_step(lutra_recurrence *now);
void lutra_gru_step(lutra_recurrence *now);

/* The row of a step in `input` or, of all steps, in `output`. */
uint32_t lutra_time(const lutra_recurrence *now);
void lutra_put_hidden(lutra_recurrence *now, uint32_t n, int32_t hidden);
/* Parts of the pre-activation of row n, and their sum, in units of 2^-12: x of SPEC.md, r, and a. */
int32_t lutra_input_part(const lutra_recurrence *now, uint32_t n);
int32_t lutra_recurrent_part(const lutra_recurrence *now, uint32_t n);
int32_t lutra_pre_activation(const lutra_recurrence *now, uint32_t n);
/* The sigmoid of row n's pre-activation, 0 to 32767. */
int32_t lutra_gate(const lutra_recurrence *now, uint32_t n);
/* tanh of x in units of 2^-13, -32767 to 32767. */
int32_t lutra_tanh(const uint16_t *tangents, int32_t x);

static inline int32_t lutra_limit(int32_t value, int32_t limit) {
  return value < -limit ? -limit : value > limit ? limit : value;
}

#endif
