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
  uint16_t pixels, channels;
} lutra_softmax;

/* Scratch sizes in bytes. The compiler computes them as well; generated code asserts that both agree. */

/* Four lookup tables of K int16, and one int32 an output. */
#define LUTRA_LINEAR_LUT_SCRATCH_BYTES(out_c, codewords) (8u * (codewords) + 4u * (out_c))

/* Four lookup tables of K int16, and a ring of accumulator rows: an input row meets ceil(kernel_h / stride_h) output rows. */
#define LUTRA_CONV2D_RING_ROWS(kernel_h, stride_h, out_h) \
  (((kernel_h) + (stride_h) - 1u) / (stride_h) < (out_h) ? ((kernel_h) + (stride_h) - 1u) / (stride_h) : (out_h))
#define LUTRA_CONV2D_LUT_SCRATCH_BYTES(kernel_h, stride_h, out_h, out_w, out_c, codewords) \
  (8u * (codewords) + 4u * LUTRA_CONV2D_RING_ROWS(kernel_h, stride_h, out_h) * (out_w) * (out_c))

void lutra_conv2d_lut(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                      const int8_t *input, int8_t *output, void *scratch);
void lutra_conv2d_decode(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                         const int8_t *input, int8_t *output);
void lutra_conv2d_dense(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                        int8_t *output);
void lutra_conv2d_depthwise(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                            int8_t *output);

void lutra_linear_lut(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                      const int8_t *input, int8_t *output, void *scratch);
void lutra_linear_decode(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                         const int8_t *input, int8_t *output);
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
/* `exponentials`: uint16 [256]. `output` may be `input`. */
void lutra_softmax_int8(const lutra_softmax *layer, const uint16_t *exponentials, const int8_t *input, int8_t *output);

/* CRC-32 of SPEC.md, section 5: `halfwords` uint16 values at `data`, then `bytes` bytes that follow them. */
uint32_t lutra_crc32(const void *data, size_t halfwords, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
