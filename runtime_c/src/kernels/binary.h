/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of lutra_binary_int8: each in a file of its own, so that a compiler keeps what a loop needs in registers. */
#ifndef LUTRA_BINARY_H
#define LUTRA_BINARY_H

#include "lutra/lutra_operators.h"

/* `count` values from `a` and `b` on, which move by one value each time if their steps say LUTRA_STEPS_CHANNELS. */
void lutra_multiply_row(const lutra_binary *how, const int8_t *a, const int8_t *b, int8_t *output, uint32_t count);
void lutra_combine_row(const lutra_binary *how, const int8_t *a, const int8_t *b, int8_t *output, uint32_t count);

#endif
