/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels that generated code calls. Each computes one function of SPEC.md.
 *
 * Contract of every kernel: pointers are valid and do not overlap unless said otherwise; descriptors are those the compiler wrote
 * (sizes consistent, shifts in range); tables may hold any bytes. No kernel fails, allocates, or keeps state.
 * `scratch` is aligned to LUTRA_ARENA_ALIGN, of the size that the matching macro gives, and needs no initial content. */
#ifndef LUTRA_LUTRA_KERNELS_H
#define LUTRA_LUTRA_KERNELS_H

#include "lutra/lutra.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One output channel: SPEC.md, sections 2 and 3. */
typedef struct {
  int16_t bias;        /* in units of 2^bias_shift of the accumulator */
  uint16_t multiplier; /* 12 bits of mantissa, 4 bits of additional shift */
} lutra_channel;

/* Descriptors: 16-bit members first, then bytes, an even size, no padding (their CRC depends on it). */

typedef struct {
  uint16_t in_h, in_w, in_c;
  uint16_t out_h, out_w, out_c; /* before the fused pooling */
  uint16_t groups;
  uint16_t block; /* lut: subvectors whose tables exist at once; decode: filters that are decoded at once; else 0 */
  uint8_t kernel_h, kernel_w;
  uint8_t stride_h, stride_w;
  uint8_t pad_top, pad_left;
  uint8_t pool_h, pool_w; /* 1, 1: no pooling */
  int8_t input_zero_point, output_zero_point;
  int8_t output_min, output_max;
  uint8_t bias_shift, acc_shift, output_shift;
  uint8_t log2_codewords; /* 0 in dense layers */
  uint8_t subvector;      /* d; 0 in dense layers */
  uint8_t index_bits;     /* 4 or 8; 0 in dense layers */
  uint8_t padded;         /* 1: a window reaches beyond the image and the zero point is not 0 */
  uint8_t keep_offsets;   /* lut: 1: the indices of all taps are expanded in scratch, 0: of one tap, again and again */
  uint8_t packed_sums;    /* lut: 1: four table entries may be added as int16 */
  uint8_t reserved;       /* 0 */
} lutra_conv2d;

typedef struct {
  uint16_t in_c, out_c;
  int8_t output_zero_point;
  int8_t output_min, output_max;
  uint8_t bias_shift, acc_shift, output_shift;
  uint8_t log2_codewords, subvector, index_bits; /* as in lutra_conv2d */
  uint8_t reserved;                              /* 0 */
} lutra_linear;

typedef struct {
  uint16_t in_h, in_w, in_c;
  uint16_t out_h, out_w;
  uint8_t kernel_h, kernel_w;
  uint8_t stride_h, stride_w;
  uint8_t pad_top, pad_left;
  int8_t input_zero_point, output_zero_point; /* of average pooling */
  int8_t output_min, output_max;
  uint8_t shift;
  uint8_t count_include_pad; /* 0 or 1 */
} lutra_pool;

typedef struct {
  uint16_t size_low, size_high; /* elements = size_low + 65536 * size_high */
  uint16_t multiplier_a, multiplier_b;
  int8_t zero_point_a, zero_point_b, output_zero_point;
  int8_t output_min, output_max;
  uint8_t shift;
} lutra_add;

typedef struct {
  uint16_t pixels_low, pixels_high; /* pixels = pixels_low + 65536 * pixels_high */
  uint16_t channels;                /* of a pixel of the input */
  uint16_t output_stride;           /* channels of a pixel of the output */
  uint16_t output_offset;           /* first channel that is written */
  uint16_t multiplier;
  int8_t input_zero_point, output_zero_point;
  int8_t output_min, output_max;
  uint8_t shift;
  uint8_t reserved; /* 0 */
} lutra_rescale;

/* Output (i, j, c) is input (start_h + i * step_h, ...) if pad_h <= i < pad_h + count_h (and so on) with i counted from pad_h,
 * else zero_point. */
typedef struct {
  uint16_t in_h, in_w, in_c;
  uint16_t out_h, out_w, out_c;
  uint16_t start_h, start_w, start_c;
  uint16_t step_h, step_w, step_c;
  uint16_t pad_h, pad_w, pad_c;       /* leading positions that hold the zero point */
  uint16_t count_h, count_w, count_c; /* positions copied from the input */
  int8_t zero_point;
  uint8_t reserved; /* 0 */
} lutra_slice_pad;

typedef struct {
  uint16_t in_c, out_c;
} lutra_select;

typedef struct {
  uint16_t pixels, channels;
} lutra_softmax;

typedef struct {
  uint16_t bytes_low, bytes_high;             /* packed indices: bytes = bytes_low + 65536 * bytes_high */
  uint16_t coded_bytes_low, coded_bytes_high; /* frequency codes and stream: at least the codes */
  uint8_t log2_codewords, index_bits;         /* as in lutra_conv2d */
} lutra_indices;

/* Scratch sizes in bytes. The compiler computes them as well; generated code asserts that both agree. */

/* Eight lookup tables of K int16 and what an index beyond K may read after them, and one int32 an output. */
#define LUTRA_LINEAR_LUT_SCRATCH_BYTES(out_c, codewords, index_bits)                                        \
  (14u * (codewords) + 2u * ((codewords) > (1u << (index_bits)) ? (codewords) : (1u << (index_bits))) + 4u * (out_c))
/* Eight tables of 16 int16, four of 256, and one int32 an output. */
#define LUTRA_LINEAR_PAIRS_SCRATCH_BYTES(out_c) (8u * 16u * 2u + 4u * 256u * 2u + 4u * (out_c))

/* Weights of a few rows. */
#define LUTRA_DECODED_ROWS 4u
#define LUTRA_LINEAR_DECODE_SCRATCH_BYTES(in_c) (LUTRA_DECODED_ROWS * (in_c))

/* Two-pixel tables of `block` subvectors; a ring of accumulator rows and one spare pixel: an input row meets
 * ceil(kernel_h / stride_h) output rows; an offset an index, of all taps or of one; a sum a tap and output channel if padded. */
#define LUTRA_CONV2D_RING_ROWS(kernel_h, stride_h, out_h) \
  (((kernel_h) + (stride_h) - 1u) / (stride_h) < (out_h) ? ((kernel_h) + (stride_h) - 1u) / (stride_h) : (out_h))
#define LUTRA_CONV2D_LUT_SCRATCH_BYTES(kernel_h, kernel_w, stride_h, out_h, out_w, out_c, codewords, subvectors, block, \
                                       keep_offsets, padded)                                                          \
  (4u * (block) * (codewords) + 4u * (out_c) * (LUTRA_CONV2D_RING_ROWS(kernel_h, stride_h, out_h) * (out_w) + 1u) +     \
   LUTRA_IN_FOURS(LUTRA_CONV2D_LUT_OFFSET_BYTES(codewords, block) *                                                     \
                  ((keep_offsets) ? (kernel_h) * (kernel_w) * (out_c) * (subvectors) : (out_c) * (block))) +            \
   4u * ((padded) ? (kernel_h) * (kernel_w) * (out_c) : 0u))
/* Of an offset: one byte where it reaches all tables. */
#define LUTRA_CONV2D_LUT_OFFSET_BYTES(codewords, block) (4u * (block) * (codewords) <= 256u ? 1u : 2u)

/* A ring of accumulator rows, in whole vectors of eight columns; a sum a kernel row and output channel, and one more, if padded;
 * four subvectors of eight pixels; an offset an index, in fours a kernel row, of all kernel rows or of one and a group; tables of
 * `block` subvectors, in fours, with a lane a pixel of a row, padded ones included. `flat`: LUTRA_CONV2D_LUT8_FLAT, where the
 * image counts as one row, 16 pixels at a time. */
#define LUTRA_CONV2D_LUT8_FLAT(kernel_h, kernel_w, stride_h, stride_w, pool_h, pool_w, in_h, in_w, out_h, out_w)                \
  ((kernel_h) == 1u && (kernel_w) == 1u && (stride_h) == 1u && (stride_w) == 1u && (pool_h) == 1u && (pool_w) == 1u &&          \
   (in_h) == (out_h) && (in_w) == (out_w))
#define LUTRA_CONV2D_LUT8_FLAT_WIDTH 16u
#define LUTRA_CONV2D_LUT8_PITCH(out_w) (((out_w) + 7u) / 8u * 8u)
#define LUTRA_CONV2D_LUT8_LANES(kernel_w, stride_w, pad_left, in_w, out_w)                                                   \
  LUTRA_MOST(((pad_left) + (stride_w) - 1u) / (stride_w) + LUTRA_CONV2D_LUT8_PITCH(((in_w) + (stride_w) - 1u) / (stride_w)), \
             (out_w) + ((kernel_w) + (stride_w) - 1u) / (stride_w) - ((stride_w) > 1u ? 0u : 1u))
/* How far 16-bit offsets must reach into the tables of eight subvectors, or of four: at most 65,536 bytes. */
#define LUTRA_CONV2D_LUT8_REACH_BYTES(flat, kernel_w, stride_w, pad_left, in_w, out_w, codewords, subvectors)                   \
  (((subvectors) > 4u ? 16u : 8u) * (codewords) *                                                                               \
   LUTRA_CONV2D_LUT8_LANES(kernel_w, stride_w, pad_left, (flat) ? LUTRA_CONV2D_LUT8_FLAT_WIDTH : (in_w),                        \
                           (flat) ? LUTRA_CONV2D_LUT8_FLAT_WIDTH : (out_w)))
#define LUTRA_CONV2D_LUT8_OFFSETS(kernel_h, kernel_w, stride_w, out_c, subvectors, block, keep_offsets)                         \
  ((out_c) * ((keep_offsets)                                                                                                    \
                  ? (kernel_h) * LUTRA_IN_FOURS((kernel_w) * (subvectors) +                                                     \
                                                ((stride_w) > 1u && (subvectors) % 4u > 0u ? 3u * (stride_w) : 0u))             \
                  : LUTRA_IN_FOURS(((kernel_w) + (stride_w) - 1u) / (stride_w) * LUTRA_LEAST(block, 8u))))
#define LUTRA_IN_FOURS(count) (((count) + 3u) / 4u * 4u)
#define LUTRA_CONV2D_LUT8_SCRATCH_BYTES(flat, kernel_h, kernel_w, stride_h, stride_w, pad_left, in_w, out_h, out_w, out_c,    \
                                        codewords, subvectors, d, block, keep_offsets, padded)                               \
  (4u * (out_c) * (LUTRA_CONV2D_RING_ROWS(kernel_h, stride_h, out_h) *                                                       \
                       LUTRA_CONV2D_LUT8_PITCH((flat) ? LUTRA_CONV2D_LUT8_FLAT_WIDTH : (out_w)) +                            \
                   ((padded) ? (kernel_h) + 1u : 0u)) +                                                                          \
   64u * (d) + 2u * LUTRA_CONV2D_LUT8_OFFSETS(kernel_h, kernel_w, stride_w, out_c, subvectors, block, keep_offsets) +        \
   LUTRA_MOST(8u * (((block) + 3u) / 4u) * (codewords) *                                                                     \
                      LUTRA_CONV2D_LUT8_LANES(kernel_w, stride_w, pad_left, (flat) ? LUTRA_CONV2D_LUT8_FLAT_WIDTH : (in_w),  \
                                              (flat) ? LUTRA_CONV2D_LUT8_FLAT_WIDTH : (out_w)) +                             \
                  16u,                                                                                                       \
              (padded) ? 14u * (codewords) + 512u : 0u))
#define LUTRA_LEAST(a, b) ((a) < (b) ? (a) : (b))
#define LUTRA_MOST(a, b) ((a) > (b) ? (a) : (b))

/* Inputs of four output pixels, and their sums, or before that two windows. `length`: values that a filter meets,
 * kernel_h * kernel_w * in_c / groups. */
#define LUTRA_PATCH_BYTES(length) (8u * (((length) + 3u) / 4u * 4u))
#define LUTRA_PATCH_SUMS_BYTES(length, out_group) LUTRA_MOST(16u * (out_group), 4u * (((length) + 1u) / 2u))
#define LUTRA_CONV2D_DENSE_SCRATCH_BYTES(length, out_group) \
  (LUTRA_PATCH_BYTES(length) + LUTRA_PATCH_SUMS_BYTES(length, out_group))
/* The same for `block` output channels, and their weights. */
#define LUTRA_CONV2D_DECODE_SCRATCH_BYTES(length, block) \
  (LUTRA_CONV2D_DENSE_SCRATCH_BYTES(length, block) + ((length) * (block) + 3u) / 4u * 4u)
/* Sums of four pixels, what sums begin with, and weights of windows that were moved into the image. */
#define LUTRA_CONV2D_DEPTHWISE_SCRATCH_BYTES(kernel_h, kernel_w, out_c) \
  (20u * (out_c) + (1u * (kernel_h) * (kernel_w) * (out_c) + 3u) / 4u * 4u)
/* Where to look for slots, where those of each symbol begin, and where they end. */
#define LUTRA_UNPACK_INDICES_SCRATCH_BYTES(codewords) (64u + 2u * (codewords) + 4u)

/* `output` may be where `input` is, or before: SPEC.md, "Output over input". */
void lutra_conv2d_lut(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                      const int8_t *input, int8_t *output, void *scratch);
/* The same function, for CPUs that add four int32 at once. The tables are within reach: LUTRA_CONV2D_LUT8_REACH_BYTES. */
void lutra_conv2d_lut8(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                       const int8_t *input, int8_t *output, void *scratch);
void lutra_conv2d_decode(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                         const int8_t *input, int8_t *output, void *scratch);
void lutra_conv2d_dense(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                        int8_t *output, void *scratch);
void lutra_conv2d_depthwise(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                            int8_t *output, void *scratch);

/* Without `channels` (NULL) the sums of lut and pairs, without biases, stay at the beginning of `scratch`, and nothing is put out. */
void lutra_linear_lut(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                      const int8_t *input, int8_t *output, void *scratch);
/* For 16 codewords of 4-bit indices whose table entries add as int16 in pairs. */
void lutra_linear_pairs(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                        const int8_t *input, int8_t *output, void *scratch);
void lutra_linear_decode(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                         const int8_t *input, int8_t *output, void *scratch);
void lutra_linear_dense(const lutra_linear *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                        int8_t *output);

void lutra_max_pool(const lutra_pool *layer, const int8_t *input, int8_t *output);
/* `multipliers`: uint16 [kernel_h * kernel_w], or one entry with count_include_pad. */
void lutra_average_pool(const lutra_pool *layer, const uint16_t *multipliers, const int8_t *input, int8_t *output);
/* `output` may be `a` or `b`. */
void lutra_add_int8(const lutra_add *layer, const int8_t *a, const int8_t *b, int8_t *output);
/* `output` may be `input` where output_stride == channels. */
void lutra_rescale_int8(const lutra_rescale *layer, const int8_t *input, int8_t *output);
void lutra_slice_pad_int8(const lutra_slice_pad *layer, const int8_t *input, int8_t *output);
/* `mask`: a bit for each of in_c features, the lowest of a byte first; those that are set are copied. `output` may be `input`. */
void lutra_select_int8(const lutra_select *layer, const uint8_t *mask, const int8_t *input, int8_t *output);
/* `exponentials`: uint16 [256]. `output` may be `input`. */
void lutra_softmax_int8(const lutra_softmax *layer, const uint16_t *exponentials, const int8_t *input, int8_t *output);

/* Indices of the next layer: SPEC.md, section 4. */
void lutra_unpack_indices(const lutra_indices *layer, const uint8_t *coded, uint8_t *output, void *scratch);

/* CRC-32 of SPEC.md, section 6. */
uint32_t lutra_crc32(const void *data, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
