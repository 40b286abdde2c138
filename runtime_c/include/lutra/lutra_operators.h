/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of operators that plain classifiers do without, under the contract of lutra_kernels.h. */
#ifndef LUTRA_LUTRA_OPERATORS_H
#define LUTRA_LUTRA_OPERATORS_H

#include "lutra/lutra_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  uint16_t size_low, size_high; /* elements = size_low + 65536 * size_high */
} lutra_lookup;

/* `function` of a lutra_binary. */
#define LUTRA_MULTIPLY 0u
#define LUTRA_ADD 1u
#define LUTRA_MINIMUM 2u
#define LUTRA_MAXIMUM 3u

/* `steps_a`, `steps_b`: whether an input has a value for each channel, and for each pixel, or one for all of them. */
#define LUTRA_STEPS_CHANNELS 1u
#define LUTRA_STEPS_PIXELS 2u

typedef struct {
  uint16_t pixels_low, pixels_high; /* of the output: pixels = pixels_low + 65536 * pixels_high */
  uint16_t channels;                /* of a pixel of the output */
  int16_t multiplier_a, multiplier_b;
  int8_t zero_point_a, zero_point_b, output_zero_point;
  int8_t output_min, output_max;
  uint8_t shift;
  uint8_t function;
  uint8_t steps_a, steps_b;
  uint8_t reserved; /* 0 */
} lutra_binary;

/* A part of the input to a part of the output, both seen as arrays of five dimensions: positions are start + sum of i_k * step_k
 * for i_k < count_k; start = start_low + 65536 * start_high. */
typedef struct {
  uint16_t count_0, count_1, count_2, count_3, count_4;
  uint16_t in_step_0, in_step_1, in_step_2, in_step_3, in_step_4;
  uint16_t out_step_0, out_step_1, out_step_2, out_step_3, out_step_4;
  uint16_t in_start_low, in_start_high, out_start_low, out_start_high;
} lutra_copy;

/* Of each of outer * inner rows, `count` values that are `inner` apart. */
typedef struct {
  uint16_t outer, count, inner;
  uint16_t epsilon_low, epsilon_mid, epsilon_high; /* 256 * count^2 * epsilon in squares of the input's steps, 48 bits */
  uint16_t gain;                                   /* output steps of a deviation = gain / 2^gain_shift, 2^14 <= gain < 2^15 */
  uint8_t gain_shift;
  uint8_t value_shift; /* of count * x - sum, so that 15 bits are left */
  int8_t output_zero_point;
  int8_t output_min, output_max;
  uint8_t reserved; /* 0 */
} lutra_normalise;

/* `lookup`: int8 [256], the outputs for -128 to 127. `output` may be `input`. */
void lutra_lookup_int8(const lutra_lookup *layer, const int8_t *lookup, const int8_t *input, int8_t *output);
/* `output` may be `a` where that has a value for each channel and pixel. */
void lutra_binary_int8(const lutra_binary *layer, const int8_t *a, const int8_t *b, int8_t *output);
void lutra_copy_int8(const lutra_copy *layer, const int8_t *input, int8_t *output);
/* `output` may be `input`. */
void lutra_normalise_int8(const lutra_normalise *layer, const int8_t *input, int8_t *output);

#ifdef __cplusplus
}
#endif

#endif
