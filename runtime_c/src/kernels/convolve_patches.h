/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUTRA_CONVOLVE_PATCHES_H
#define LUTRA_CONVOLVE_PATCHES_H

#include "../loops.h"

/* A convolution whose weights, int8 [rows][tap][channels], are at hand: `rows` adjacent output channels that read `channels`
 * adjacent input channels. `input`, `output` and `records` point at the first of them. Scratch: LUTRA_CONV2D_DENSE_SCRATCH_BYTES. */
void lutra_convolve_patches(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *records, uint32_t rows,
                            uint32_t channels, const int8_t *input, int8_t *output, void *scratch);

#endif
