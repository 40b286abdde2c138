/* SPDX-License-Identifier: Apache-2.0 */
/* SPEC.md once more, as plainly as it can be written: 64-bit sums, no shifts of negative numbers. */
#ifndef LUTRA_TESTS_NAIVE_H
#define LUTRA_TESTS_NAIVE_H

#include "lutra/lutra_kernels.h"

/* floor(value / 2^shift) */
int64_t floor_shift(int64_t value, int shift);

/* clamp(zero_point + round(value * multiplier / 2^shift), minimum, maximum) */
int8_t naive_scale(int64_t value, int64_t multiplier, int shift, int zero_point, int minimum, int maximum);

/* `weights`: [out_c][kernel_h][kernel_w][in_c / groups]. Fails if a sum or product leaves what the compiler promises. */
void naive_conv2d(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                  int8_t *output);

/* `weights`: [out_c][in_c]. */
void naive_linear(const lutra_linear *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                  int8_t *output);

/* Indices [out_c][taps][subvectors], one a byte, in the layout of SPEC.md, section 3, in a new buffer. */
uint8_t *packed_indices(const uint8_t *indices, int out_c, int taps, int subvectors, int index_bits);

/* The dense weights [out_c][taps][channels] that such indices stand for, in a new buffer. */
int8_t *decoded_weights(const uint8_t *indices, int out_c, int taps, int channels, const int8_t *codebook, int subvector);

#endif
