/* SPDX-License-Identifier: Apache-2.0 */
/* The inner loops of lutra_conv2d_lut8, which takes eight pixels of an input row at once; everything in loops.h about
 * implementations holds here as well. A vector is one int16 a pixel; sums are int32, of adjacent columns side by side, channel n's
 * `pitch` words after channel n - 1's. */
#ifndef LUTRA_LOOPS8_H
#define LUTRA_LOOPS8_H

#include "loops.h"

#define LUTRA_PIXELS8 8u

/* Lookups of a row of `count` <= LUTRA_GROUP indices: 4 or 8. */
#define LUTRA_LOOKUPS8(count) ((count) > 4u ? 8u : 4u)

/* Where table entries lie, in bytes, for tables of `codewords` vectors: offsets[n][i] of index i of row n, for
 * i < LUTRA_LOOKUPS8(count); those beyond `count` lead behind the last table. Rows of indices as in lutra_add_lookups_loop. */
typedef void lutra_expand8_loop(const uint8_t *indices, uint32_t index_bits, uint32_t codewords, uint32_t count, uint32_t rows,
                                uint16_t *offsets);

/* columns[c] = channel c of pixels x, x + step, .. as a vector, for c < channels; 0 for pixels that are not there. */
typedef void lutra_columns8_loop(const int8_t *x, uint32_t step, uint32_t pixels, uint32_t channels, int16_t *columns);

/* tables[i][k] = sum over j < d of codebook[k][j] * columns[i * d + j], vectors [count][codewords]. */
typedef void lutra_build_tables8_loop(const int8_t *codebook, uint32_t codewords, uint32_t d, const int16_t *columns, uint32_t count,
                                      int16_t *tables);

/* Adds vectors to eight adjacent columns: those at offsets[n][i], i < count, to sums[n * pitch ..]; count is 4 or 8, `offsets`
 * aligned to 4. If `packed`, any four of the vectors may be added as int16. (As in lutra_add_pixel_lookups_loop.) */
typedef void lutra_add_lookups8_loop(const uint16_t *offsets, uint32_t count, const int16_t *tables, uint32_t packed, uint32_t *sums,
                                     uint32_t pitch, uint32_t rows);

/* A rectangle of a kernel that is padding, for `columns` adjacent columns of outputs: sums[n * pitch + x] += sum over
 * y < height, t < width of padding[y * step + t * rows + n]. */
typedef void lutra_add_padding8_loop(const uint32_t *padding, uint32_t step, uint32_t height, uint32_t width, uint32_t *sums,
                                     uint32_t pitch, uint32_t rows, uint32_t columns);

/* output[p * rows + n], p < pixels, from the greatest of sums[n * pitch + p * pool ..], `pool` adjacent columns, which become 0.
 * If `max`, stored where it exceeds what `output` holds. `sums` may be read up to 8 * pool - 1 words beyond the last one.
 * (Of true tables and channels: |acc >> acc_shift| < 2^19. Where that is broken implementations may differ.) */
typedef void lutra_requantize8_loop(const lutra_requantization *how, const lutra_channel *channels, uint32_t rows, uint32_t *sums,
                                    uint32_t pitch, uint32_t pixels, uint32_t pool, uint32_t max, int8_t *output);

lutra_expand8_loop lutra_expand8_reference;
lutra_columns8_loop lutra_columns8_reference;
lutra_build_tables8_loop lutra_build_tables8_reference;
lutra_add_lookups8_loop lutra_add_lookups8_reference;
lutra_add_padding8_loop lutra_add_padding8_reference;
lutra_requantize8_loop lutra_requantize8_reference;

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include "arm_mve/backend8.h"
#elif !defined(lutra_expand8)
#define lutra_expand8 lutra_expand8_reference
#define lutra_columns8 lutra_columns8_reference
#define lutra_build_tables8 lutra_build_tables8_reference
#define lutra_add_lookups8 lutra_add_lookups8_reference
#define lutra_add_padding8 lutra_add_padding8_reference
#define lutra_requantize8 lutra_requantize8_reference
#endif

#endif
