/* SPDX-License-Identifier: Apache-2.0 */
#include "coding.h"
#include "requantize.h"

/* Input-stationary: the tables of a pixel serve every kernel tap that reads it. Rows (y) and columns (x) of the input count from
 * the first padded one, so output row i meets rows i * stride_h .. i * stride_h + kernel_h - 1. */
typedef struct {
  const lutra_conv2d *layer;
  const lutra_channel *channels;
  const uint8_t *indices;
  lutra_coding coding;
  uint32_t row_size, tap_bytes;
  int16_t *tables;
  uint32_t *ring, *ring_end; /* rows of sums */
} convolution;

static void start_row(const convolution *conv, uint32_t *sums) {
  const uint32_t *const end = sums + conv->row_size;
  while (sums < end) {
    for (uint32_t n = 0u; n < conv->layer->out_c; n++) {
      *sums++ = lutra_bias(conv->channels[n], conv->layer->bias_shift);
    }
  }
}

static uint32_t *next_row(const convolution *conv, uint32_t *sums) {
  sums += conv->row_size;
  return sums == conv->ring_end ? conv->ring : sums;
}

/* Adds the lookups of one pixel at kernel row `ky` of output row i (sums at `row`) and kernel column `kx` of output column j,
 * then those of the later rows and columns that read this pixel at earlier taps. */
static void add_pixel(const convolution *conv, uint32_t group, uint32_t *row, uint32_t i, uint32_t ky, uint32_t j, uint32_t kx) {
  const lutra_conv2d *const layer = conv->layer;
  for (;; i++, ky -= layer->stride_h, row = next_row(conv, row)) {
    const uint8_t *tap = conv->indices + (ky * layer->kernel_w + kx) * conv->tap_bytes;
    uint32_t *sums = row + j * layer->out_c;
    for (uint32_t column = j, k = kx;; column++, k -= layer->stride_w) {
      lutra_accumulate(&conv->coding, group, tap, conv->tables, sums);
      if (k < layer->stride_w || column + 1u == layer->out_w) {
        break;
      }
      tap -= layer->stride_w * conv->tap_bytes;
      sums += layer->out_c;
    }
    if (ky < layer->stride_h || i + 1u == layer->out_h) {
      break;
    }
  }
}

/* Adds input row `pixels`, NULL if it is padding. */
static void add_row(const convolution *conv, const int8_t *pixels, uint32_t *row, uint32_t i, uint32_t ky) {
  const lutra_conv2d *const layer = conv->layer;
  for (uint32_t group = 0u; group < conv->coding.subvectors; group += 4u) {
    const int8_t *built = NULL; /* the pixel that the tables belong to */
    uint32_t x = 0u;
    for (uint32_t j = 0u; j < layer->out_w; j++) {
      const uint32_t left = j * layer->stride_w;
      for (x = x < left ? left : x; x < left + layer->kernel_w; x++) {
        const uint32_t column = x - layer->pad_left;
        const uint32_t inside = pixels != NULL && column < layer->in_w;
        const int8_t *const pixel = inside ? pixels + column * layer->in_c : &layer->input_zero_point;
        if (pixel != built) {
          lutra_build_tables(&conv->coding, group, pixel, inside, conv->tables);
          built = pixel;
        }
        add_pixel(conv, group, row, i, ky, j, x - left);
      }
    }
  }
}

/* Stores the maxima of the row's windows; `first`: of the windows' first row. Returns the end of the output row. */
static int8_t *store_row(const convolution *conv, const uint32_t *sums, int8_t *output, uint32_t first) {
  const lutra_conv2d *const layer = conv->layer;
  for (uint32_t j = 0u; j + layer->pool_w <= layer->out_w; j += layer->pool_w) {
    for (uint32_t n = 0u; n < layer->out_c; n++) {
      int8_t best = first ? INT8_MIN : *output;
      for (uint32_t window = 0u; window < layer->pool_w; window++) {
        const int8_t value = LUTRA_REQUANTIZE(layer, conv->channels[n], sums[window * layer->out_c + n]);
        best = value > best ? value : best;
      }
      *output++ = best;
    }
    sums += (uint32_t)layer->pool_w * layer->out_c;
  }
  return output;
}

void lutra_conv2d_lut(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                      const int8_t *input, int8_t *output, void *scratch) {
  convolution conv;
  conv.layer = layer;
  conv.channels = channels;
  conv.indices = indices;
  conv.tables = scratch;
  lutra_coding_init(&conv.coding, codebook, layer->log2_codewords, layer->subvector, layer->index_bits, layer->in_c, layer->out_c);
  conv.tap_bytes = conv.coding.rows * lutra_index_bytes(&conv.coding, conv.coding.subvectors);
  conv.row_size = (uint32_t)layer->out_w * layer->out_c;
  conv.ring = (uint32_t *)scratch + 2u * conv.coding.codewords;
  conv.ring_end = conv.ring;
  for (uint32_t ky = 0u, i = 0u; ky < layer->kernel_h && i < layer->out_h; ky += layer->stride_h, i++) {
    start_row(&conv, conv.ring_end);
    conv.ring_end += conv.row_size;
  }

  uint32_t *row = conv.ring;
  uint32_t y = 0u;
  uint32_t pool_row = 0u;
  const uint32_t rows = (uint32_t)layer->out_h;
  for (uint32_t i = 0u; i < rows; i++) {
    const uint32_t top = i * layer->stride_h;
    for (y = y < top ? top : y; y < top + layer->kernel_h; y++) {
      const uint32_t in_y = y - layer->pad_top;
      add_row(&conv, in_y < layer->in_h ? input + in_y * layer->in_w * layer->in_c : NULL, row, i, y - top);
    }
    if (i - pool_row + layer->pool_h <= rows) {
      int8_t *const end = store_row(&conv, row, output, pool_row == 0u);
      pool_row++;
      if (pool_row == layer->pool_h) {
        pool_row = 0u;
        output = end;
      }
    }
    start_row(&conv, row);
    row = next_row(&conv, row);
  }
}
