/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of recurrent layers, under the contract of lutra_kernels.h. */
#ifndef LUTRA_LUTRA_RECURRENT_H
#define LUTRA_LUTRA_RECURRENT_H

#include "lutra/lutra_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of an LSTM or a GRU: SPEC.md, section 7. */
typedef struct {
  uint16_t steps;
  uint16_t in_c, out_c;      /* of the weight that meets the hidden state: units, gates of all units */
  uint16_t input_multiplier; /* of the pre-activations that are the input */
  int8_t input_zero_point;
  uint8_t input_shift;
  uint8_t bias_shift, acc_shift, output_shift;
  uint8_t log2_codewords, subvector, index_bits; /* as in lutra_conv2d */
  uint8_t initial;                               /* 1: each state has a value of its own before the first step, 0: all have one */
  uint8_t reverse;                               /* 1: from the last step to the first */
  uint8_t sequence;                              /* 1: the hidden states of all steps are put out, 0: the last one */
  uint8_t reserved;                              /* 0 */
} lutra_recurrent;

/* A state, int16, and a hidden state, int8, a unit, and what a fully connected layer needs, or its sums alone. */
#define LUTRA_RECURRENT_STATE_BYTES(in_c) (LUTRA_IN_FOURS(3u * (in_c)))
#define LUTRA_RECURRENT_LUT_SCRATCH_BYTES(in_c, out_c, codewords, index_bits) \
  (LUTRA_RECURRENT_STATE_BYTES(in_c) + LUTRA_LINEAR_LUT_SCRATCH_BYTES(out_c, codewords, index_bits))
#define LUTRA_RECURRENT_PAIRS_SCRATCH_BYTES(in_c, out_c) (LUTRA_RECURRENT_STATE_BYTES(in_c) + LUTRA_LINEAR_PAIRS_SCRATCH_BYTES(out_c))
#define LUTRA_RECURRENT_SCRATCH_BYTES(in_c, out_c) (LUTRA_RECURRENT_STATE_BYTES(in_c) + 4u * (out_c))
#define LUTRA_RECURRENT_DECODE_SCRATCH_BYTES(in_c, out_c) \
  (LUTRA_RECURRENT_SCRATCH_BYTES(in_c, out_c) + LUTRA_LINEAR_DECODE_SCRATCH_BYTES(in_c))

/* `tangents`: uint16 [129]; `initial`: states before the first step, as int16, or one for all. `output` may be where `input` is, unless
 * time runs backwards. */
void lutra_lstm_lut(const lutra_recurrent *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                    const uint16_t *tangents, const uint16_t *initial, const int8_t *input, int8_t *output, void *scratch);
void lutra_lstm_pairs(const lutra_recurrent *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                      const uint16_t *tangents, const uint16_t *initial, const int8_t *input, int8_t *output, void *scratch);
void lutra_lstm_decode(const lutra_recurrent *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                       const uint16_t *tangents, const uint16_t *initial, const int8_t *input, int8_t *output, void *scratch);
void lutra_lstm_dense(const lutra_recurrent *layer, const int8_t *weights, const lutra_channel *channels, const uint16_t *tangents,
                      const uint16_t *initial, const int8_t *input, int8_t *output, void *scratch);
void lutra_gru_lut(const lutra_recurrent *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                   const uint16_t *tangents, const uint16_t *initial, const int8_t *input, int8_t *output, void *scratch);
void lutra_gru_pairs(const lutra_recurrent *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                     const uint16_t *tangents, const uint16_t *initial, const int8_t *input, int8_t *output, void *scratch);
void lutra_gru_decode(const lutra_recurrent *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                      const uint16_t *tangents, const uint16_t *initial, const int8_t *input, int8_t *output, void *scratch);
void lutra_gru_dense(const lutra_recurrent *layer, const int8_t *weights, const lutra_channel *channels, const uint16_t *tangents,
                     const uint16_t *initial, const int8_t *input, int8_t *output, void *scratch);

#ifdef __cplusplus
}
#endif

#endif
