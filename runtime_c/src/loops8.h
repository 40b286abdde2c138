/* SPDX-License-Identifier: Apache-2.0 */
/* The inner loops of lutra_conv2d_lut8, which takes the pixels of an input row at once, eight to a vector of int16; everything in
 * loops.h about implementations holds here as well.
 *
 * A table belongs to four subvectors: entry (k, i), of codeword k and subvector i, has `lanes` int16, one a pixel, and begins
 * (4 * k + i) * lanes behind the table's start. Sums are of adjacent columns side by side, channel n's `pitch` words behind
 * channel n - 1's. */
#ifndef LUTRA_LOOPS8_H
#define LUTRA_LOOPS8_H

#include "loops.h"

#define LUTRA_PIXELS8 8u
#define LUTRA_SUBVECTORS8 4u

/* Up to eight pixels of an input row: x, x + step, .. Beyond them comes padding, the zero point in each channel. */
typedef struct {
  const int8_t *x;
  uint32_t step, count;
  int8_t zero_point;
} lutra_pixels8;

/* Eight lanes of a table's entries, those from `tables` on: entry (k, i) = sum over j < d of codebook[k][j] times channel
 * i * d + j of the pixels, channels beyond `channels` being 0; lanes >= 8. `scratch`: 64 * d bytes, aligned to 4. */
typedef void lutra_build_tables8_loop(const int8_t *codebook, uint32_t codewords, uint32_t d, const lutra_pixels8 *pixels,
                                      uint32_t channels, int16_t *tables, uint32_t lanes, void *scratch);

/* offsets[n * step + i] = shift + offset in bytes of the entry that index i of row n means, in ceil(count / 4) adjacent tables,
 * for i < count <= LUTRA_GROUP. Rows of indices as in lutra_add_lookups_loop. */
typedef void lutra_expand8_loop(const uint8_t *indices, uint32_t index_bits, uint32_t codewords, uint32_t count, uint32_t rows,
                                uint32_t lanes, uint32_t shift, uint16_t *offsets, uint32_t step);

/* sums[n] = 0 for n < count. */
typedef void lutra_clear8_loop(uint32_t *sums, uint32_t count);

/* sums[n * pitch + x] += sum over i < 4 * fours of lane x behind offset i of row n, for x < 8 * vectors; `vectors` is 1 or 2.
 * Rows of offsets are adjacent and aligned to 4; eight bytes behind them and 14 behind the tables may be read. */
typedef void lutra_add_lookups8_loop(const uint16_t *offsets, uint32_t fours, const int16_t *tables, uint32_t vectors,
                                     uint32_t *sums, uint32_t pitch, uint32_t rows);

/* output[p * rows + n], p < pixels, from the greatest of sums[n * pitch + p * pool ..], `pool` adjacent columns, and from
 * share[n], if share is not NULL. If `max`, stored where it exceeds what `output` holds. Sums that were read become 0, others of
 * the rows * pitch words anything.
 * (Of true tables and channels: |acc >> acc_shift| < 2^19. Where that is broken implementations may differ.) */
typedef void lutra_requantize8_loop(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *share,
                                    uint32_t rows, uint32_t *sums, uint32_t pitch, uint32_t pixels, uint32_t pool, uint32_t max,
                                    int8_t *output);

lutra_build_tables8_loop lutra_build_tables8_reference;
lutra_expand8_loop lutra_expand8_reference;
lutra_clear8_loop lutra_clear8_reference;
lutra_add_lookups8_loop lutra_add_lookups8_reference;
lutra_requantize8_loop lutra_requantize8_reference;

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include "arm_mve/backend8.h"
#elif !defined(lutra_expand8)
#define lutra_build_tables8 lutra_build_tables8_reference
#define lutra_expand8 lutra_expand8_reference
#define lutra_clear8 lutra_clear8_reference
#define lutra_add_lookups8 lutra_add_lookups8_reference
#define lutra_requantize8 lutra_requantize8_reference
#endif

#endif
