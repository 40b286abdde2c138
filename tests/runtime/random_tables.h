/* SPDX-License-Identifier: Apache-2.0 */
/* Tables such as the compiler would write, at random. */
#ifndef LUTRA_TESTS_RANDOM_TABLES_H
#define LUTRA_TESTS_RANDOM_TABLES_H

#include "lutra/lutra_kernels.h"

typedef struct {
  uint8_t bias_shift, acc_shift, output_shift;
} shifts;

/* Channels and shifts that keep the promises of SPEC.md, section 2, for sums of at most `bound` and spread them over int8. */
lutra_channel *random_channels(int out_c, int64_t bound, shifts *chosen);

/* What the magnitudes of a codeword may add up to: for tables of int16, where two entries are added as int16, and where four. */
enum { L1 = 255, L1_PAIRS = 127, L1_PACKED = 63 };

/* Codewords of any sign, whose magnitudes add up to `limit` at most. */
int8_t *random_codebook(int codewords, int subvector, int limit);

/* Codewords whose magnitudes add up to `limit`, or are as large as can be: all of one sign, or of any. */
int8_t *extreme_codebook(int codewords, int subvector, int limit);

/* Values that make the tables of such codewords extreme. */
int8_t *extreme_input(int count);

uint8_t *random_indices(int count, int codewords);

/* Fails unless both are equal; counts what is neither `minimum` nor `maximum`. */
void check_outputs(const int8_t *output, const int8_t *expected, int count, int minimum, int maximum);

/* Fails unless most outputs that were checked since the last call were neither minimum nor maximum. */
void check_lively(void);

#endif
