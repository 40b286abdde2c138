/* SPDX-License-Identifier: Apache-2.0 */
/* The inner loops that kernels are made of. Each has a portable implementation, NAME_reference, and may have a native one;
 * NAME is the fastest for the CPU that is compiled for. Define LUTRA_PORTABLE to use no native one.
 *
 * Every implementation of a loop computes the same numbers as long as table entries fit int16 and indices are below `codewords`,
 * which the compiler proves; corrupt tables give wrong numbers, which may differ, and no wild access. Pointers are to the elements'
 * own alignment (int8_t: none) unless said otherwise; channel records are aligned to 4. Sums wrap. Counts are at least 1. */
#ifndef LUTRA_LOOPS_H
#define LUTRA_LOOPS_H

#include "lutra/lutra_kernels.h"

#define LUTRA_MAX_SUBVECTOR 16u
#define LUTRA_GROUP 8u         /* subvectors of a row whose indices are adjacent */
#define LUTRA_PATCH_PIXELS 4u  /* output pixels of a dense convolution that share a pass over the weights */
#define LUTRA_LINE_PIXELS 4u   /* of a depthwise convolution whose sums may exist at once */

/* Gives a loop of many variables the registers for itself where the compiler optimises for size. */
#ifdef __GNUC__
#define LUTRA_OUT_OF_LINE __attribute__((noinline))
#else
#define LUTRA_OUT_OF_LINE
#endif

/* A function of assembly alone. What it does to registers is not to be guessed from its body, which looks empty to a compiler. */
#ifdef __has_attribute
#if __has_attribute(noipa)
#define LUTRA_NAKED __attribute__((naked, noipa))
#endif
#endif
#ifndef LUTRA_NAKED
#define LUTRA_NAKED __attribute__((naked, noinline))
#endif

/* Lookup tables of one vector: tables[i][k] = sum over j < d of codebook[k][j] * x[i * d + j], int16 [count][codewords], for
 * codewords that are a power of two, at least 2. `tables` is aligned to 4. */
typedef void lutra_build_tables_loop(const int8_t *codebook, uint32_t codewords, uint32_t d, const int8_t *x, uint32_t count,
                                     int16_t *tables);

/* sums[n] += sum over i < count of tables[i][index i of row n]; count <= LUTRA_GROUP.
 * Row n of `indices`: count bytes, or ceil(count / 2) bytes of two 4-bit indices, the even one in the low half. `tables` is
 * aligned to 4 and followed by enough memory to read that any index is harmless: 256 entries (16 for 4-bit indices) from the
 * start of the last table on. */
typedef void lutra_add_lookups_loop(const uint8_t *indices, uint32_t index_bits, uint32_t codewords, const int16_t *tables,
                                    uint32_t count, uint32_t *sums, uint32_t rows);

/* Tables of two 4-bit indices at once, from LUTRA_GROUP tables of 16: pairs[i][high << 4 | low] = tables[2 * i][low] +
 * tables[2 * i + 1][high], int16 [4][256]. `tables` and `pairs` are aligned to 4; sums fit int16 unless tables are corrupt. */
typedef void lutra_build_pair_tables_loop(const int16_t *tables, int16_t *pairs);

/* sums[n] += sum over i < 4 of pairs[i][byte i of row n]; a row is 4 bytes. */
typedef void lutra_add_pair_lookups_loop(const uint8_t *indices, const int16_t *pairs, uint32_t *sums, uint32_t rows);

/* Lookup tables of two vectors at once, for two pixels of a convolution: entry (i, k) holds the dot products of codeword k with
 * a[i * d ..] and with b[i * d ..], int16 both, in 32 bits of a form that only this loop and the next one know. */
typedef void lutra_build_pixel_tables_loop(const int8_t *codebook, uint32_t codewords, uint32_t d, const int8_t *a, const int8_t *b,
                                           uint32_t count, uint32_t *tables);

/* For each row n and each i < count: a[n] += a's half of the entry that lies offsets[n * count + i] bytes (a multiple of 4) after
 * `tables`, b[n] += b's half. Row n is finished before row n + 1 begins: b may be a + k for any k >= 1. `form` is a sum of
 * LUTRA_PACKED: any four of the entries that a row adds may be added as int16, and
 * LUTRA_FAR: offsets are uint16; else uint8, which reach tables of 256 bytes. */
typedef void lutra_add_pixel_lookups_loop(const void *offsets, uint32_t count, const uint32_t *tables, uint32_t form, uint32_t *a,
                                          uint32_t *b, uint32_t rows);
#define LUTRA_PACKED 1u
#define LUTRA_FAR 2u

/* Patches: what the weights of a filter meet at each of LUTRA_PATCH_PIXELS output pixels, `length` values a pixel, in
 * LUTRA_PATCH_BYTES(length) bytes, aligned to 4, of a form that only the next two loops know.
 * Value r * run + i of pixel 2 * pair becomes a[r * step + i], that of pixel 2 * pair + 1 b[r * step + i], for r < rows, i < run;
 * length = rows * run. */
typedef void lutra_patch_set_loop(void *patches, uint32_t pair, const int8_t *a, const int8_t *b, uint32_t step, uint32_t run,
                                  uint32_t rows);
/* sums[p * rows + n] = dot product of weights[n * length ..] with the patch of pixel p, for p < pixels, n < rows. */
typedef void lutra_patch_dot_loop(const void *patches, uint32_t pixels, const int8_t *weights, uint32_t length, uint32_t rows,
                                  uint32_t *sums);

/* sums[n] = dot product of weights[n * length ..] with x. */
typedef void lutra_dot_rows_loop(const int8_t *weights, const int8_t *x, uint32_t length, uint32_t rows, uint32_t *sums);

/* Rows of indices of 8 bits, or of 4, two a byte, the even one in the low half; any index is legal. */
typedef struct {
  const uint8_t *indices;
  uint32_t row_bytes, index_bits; /* from a row to the next, and of an index */
  const int8_t *codebook;         /* int8 [codewords][d] */
  uint32_t codewords, d;
  uint32_t length, rows; /* of weights; at most LUTRA_GROUP indices a row */
  int8_t *weights;
  uint32_t step; /* from a row of weights to the next */
} lutra_codes;

/* weights[n * step + i * d + j] = value j of the codeword that index i of row n means, for n < rows, j < d, i * d + j < length. */
typedef void lutra_decode_loop(const lutra_codes *codes);

/* SPEC.md, section 2. Sums are without bias. */
typedef struct {
  int8_t output_zero_point, output_min, output_max;
  uint8_t bias_shift, acc_shift, output_shift;
} lutra_requantization;

/* output[p * step + n] from sums[p * count + n], for n < count, p < pixels. `output` may be where `sums` is, if `pixels` is 1. */
typedef void lutra_requantize_loop(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums,
                                   uint32_t count, uint32_t pixels, int8_t *output, uint32_t step);

/* Windows of a depthwise convolution, all of them inside the image. Distances in bytes: `row` from a row of a window to the next,
 * `input_step` and `output_step` from a pixel to the next. */
typedef struct {
  const lutra_requantization *how;
  const lutra_channel *records;
  const int8_t *weights; /* [height][width][channels] */
  const uint32_t *begin; /* what the sum of a channel begins with */
  uint32_t channels, height, width;
  uint32_t row, input_step, output_step;
  uint32_t *sums; /* scratch: a sum a channel of LUTRA_LINE_PIXELS pixels */
} lutra_windows;

/* output[p * output_step + c] from begin[c] and the sum over y < height, x < width of input[p * input_step + y * row + x * channels + c]
 * times the weight of that tap and channel, for c < channels, p < pixels. */
typedef void lutra_depthwise_loop(const lutra_windows *windows, const int8_t *input, uint32_t pixels, int8_t *output);

lutra_build_tables_loop lutra_build_tables_reference;
lutra_add_lookups_loop lutra_add_lookups_reference;
lutra_build_pair_tables_loop lutra_build_pair_tables_reference;
lutra_add_pair_lookups_loop lutra_add_pair_lookups_reference;
lutra_build_pixel_tables_loop lutra_build_pixel_tables_reference;
lutra_add_pixel_lookups_loop lutra_add_pixel_lookups_reference;
lutra_patch_set_loop lutra_patch_set_reference;
lutra_patch_dot_loop lutra_patch_dot_reference;
lutra_dot_rows_loop lutra_dot_rows_reference;
lutra_decode_loop lutra_decode_reference;
lutra_depthwise_loop lutra_depthwise_reference;
lutra_requantize_loop lutra_requantize_reference;

/* A backend defines the names of its own loops. Where its folder is missing the portable ones serve its CPUs, and where the compiler is
 * told that unaligned accesses fault (-mno-unaligned-access), as those for Armv7-M and Helium make some. */
#if !defined(LUTRA_PORTABLE) && defined(__GNUC__) && defined(__has_include)
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#if defined(__ARM_FEATURE_UNALIGNED) && __has_include("arm_mve/backend.h")
#include "arm_mve/backend.h"
#endif
#elif defined(__ARM_ARCH_7M__) || defined(__ARM_ARCH_7EM__) || defined(__ARM_ARCH_8M_MAIN__) || defined(__ARM_ARCH_8_1M_MAIN__)
#if defined(__ARM_FEATURE_UNALIGNED) && __has_include("arm_v7m/backend.h")
#include "arm_v7m/backend.h"
#endif
#elif defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#if __has_include("arm_v6m/backend.h")
#include "arm_v6m/backend.h"
#endif
#endif
#endif

#ifndef lutra_build_tables
#define lutra_build_tables lutra_build_tables_reference
#endif
#ifndef lutra_add_lookups
#define lutra_add_lookups lutra_add_lookups_reference
#endif
#ifndef lutra_build_pair_tables
#define lutra_build_pair_tables lutra_build_pair_tables_reference
#endif
#ifndef lutra_add_pair_lookups
#define lutra_add_pair_lookups lutra_add_pair_lookups_reference
#endif
#ifndef lutra_build_pixel_tables
#define lutra_build_pixel_tables lutra_build_pixel_tables_reference
#define lutra_add_pixel_lookups lutra_add_pixel_lookups_reference
#endif
#ifndef lutra_patch_dot
#define lutra_patch_set lutra_patch_set_reference
#define lutra_patch_dot lutra_patch_dot_reference
#endif
#ifndef lutra_dot_rows
#define lutra_dot_rows lutra_dot_rows_reference
#endif
#ifndef lutra_decode
#define lutra_decode lutra_decode_reference
#endif
#ifndef lutra_depthwise
#define lutra_depthwise lutra_depthwise_reference
#endif
#ifndef lutra_requantize
#define lutra_requantize lutra_requantize_reference
#endif

#endif
