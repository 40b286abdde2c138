/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUTRA_CONVOLVE_PATCHES_H
#define LUTRA_CONVOLVE_PATCHES_H

#include "../loops.h"

/* A convolution whose weights are at hand: `rows` adjacent output channels that read `channels` adjacent input channels. `input`,
 * `output` and `records` point at the first of them. Scratch: LUTRA_CONV2D_DENSE_SCRATCH_BYTES. */
typedef struct {
  const lutra_conv2d *layer;
  const int8_t *weights; /* [rows][tap][channels] */
  const lutra_channel *records;
  uint32_t rows, channels;
  const int8_t *input;
  int8_t *output;
  void *scratch;
} lutra_filters;

void lutra_convolve_patches(const lutra_filters *filters);

#endif
