/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "coding.h"
#include "requantize.h"

/* Input-stationary: the tables of a pixel serve every kernel tap that reads it. Rows and columns of the input count from the
 * first padded one, so that output row i reads rows i * stride_h .. i * stride_h + kernel_h - 1. */
typedef struct {
  const lutra_conv2d *layer;
  const uint8_t *indices;
  lutra_coding coding;
  uint32_t row_size, tap_bytes;
  int16_t *tables;
  uint32_t *ring, *ring_end; /* sums of the output rows that are under way */
  int8_t padding[LUTRA_MAX_SUBVECTOR];
} convolution;

static uint32_t *next_row(const convolution *conv, uint32_t *row) {
  row += conv->row_size;
  return row == conv->ring_end ? conv->ring : row;
}

/* Adds the lookups of a pixel at tap (ky, kx) of output (i, j) and at the earlier taps of later outputs. `row`: the sums of
 * output row i. */
static void add_pixel(const convolution *conv, uint32_t group, uint32_t *row, uint32_t i, int32_t ky, uint32_t j, int32_t kx) {
  const lutra_conv2d *const layer = conv->layer;
  for (; ky >= 0 && i < layer->out_h; ky -= layer->stride_h, i++) {
    uint32_t *sums = row + j * layer->out_c;
    uint32_t column = j;
    for (int32_t x = kx; x >= 0 && column < layer->out_w; x -= layer->stride_w, column++) {
      const uint8_t *const tap = conv->indices + (uint32_t)(ky * layer->kernel_w + x) * conv->tap_bytes;
      lutra_accumulate(&conv->coding, group, tap, conv->tables, sums);
      sums += layer->out_c;
    }
    row = next_row(conv, row);
  }
}

/* Adds an input row, NULL if it is padding, at kernel row ky of output row i. `row`: as above. */
static void add_row(const convolution *conv, const int8_t *input, uint32_t *row, uint32_t i, uint32_t ky) {
  const lutra_conv2d *const layer = conv->layer;
  for (uint32_t group = 0u; group < conv->coding.subvectors; group += 4u) {
    const int8_t *built = NULL; /* the pixel that the tables belong to */
    uint32_t x = 0u;
    for (uint32_t j = 0u; j < layer->out_w; j++) {
      const uint32_t left = j * layer->stride_w;
      for (x = x < left ? left : x; x < left + layer->kernel_w; x++) {
        const uint32_t column = x - layer->pad_left; /* wraps to the left of the image */
        const uint32_t inside = input != NULL && column < layer->in_w;
        const int8_t *const pixel = inside ? input + column * layer->in_c : conv->padding;
        if (pixel != built) {
          lutra_build_tables(&conv->coding, group, pixel, inside, conv->tables);
          built = pixel;
        }
        add_pixel(conv, group, row, i, (int32_t)ky, j, (int32_t)(x - left));
      }
    }
  }
}

/* Joins a row of sums with the maxima of the pooling windows it belongs to; returns the end of the output row. */
static int8_t *store_row(const lutra_conv2d *layer, const lutra_channel *channels, const uint32_t *row, int8_t *output,
                         uint32_t first) {
  for (uint32_t j = 0u; j + layer->pool_w <= layer->out_w; j += layer->pool_w) {
    if (first) {
      memset(output, INT8_MIN, layer->out_c);
    }
    for (uint32_t x = 0u; x < layer->pool_w; x++) {
      for (uint32_t n = 0u; n < layer->out_c; n++) {
        lutra_conv2d_store(layer, channels[n], *row++, output + n);
      }
    }
    output += layer->out_c;
  }
  return output;
}

void lutra_conv2d_lut(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                      const int8_t *input, int8_t *output, void *scratch) {
  convolution conv;
  conv.layer = layer;
  conv.indices = indices;
  lutra_coding_init(&conv.coding, codebook, layer->log2_codewords, layer->subvector, layer->index_bits, layer->in_c,
                    layer->out_c);
  conv.tap_bytes = layer->out_c * lutra_index_bytes(&conv.coding, conv.coding.subvectors);
  conv.row_size = (uint32_t)layer->out_w * layer->out_c;
  conv.tables = scratch;
  conv.ring = (uint32_t *)scratch + 2u * conv.coding.codewords;
  conv.ring_end = conv.ring;
  for (uint32_t ky = 0u, i = 0u; ky < layer->kernel_h && i < layer->out_h; ky += layer->stride_h, i++) {
    conv.ring_end += conv.row_size;
  }
  memset(conv.ring, 0, (size_t)(conv.ring_end - conv.ring) * sizeof *conv.ring);
  memset(conv.padding, layer->input_zero_point, sizeof conv.padding);

  uint32_t *row = conv.ring;
  uint32_t y = 0u;
  for (uint32_t i = 0u; i + layer->pool_h <= layer->out_h; i += layer->pool_h) {
    int8_t *end = output;
    for (uint32_t p = 0u; p < layer->pool_h; p++) {
      const uint32_t top = (i + p) * layer->stride_h;
      for (y = y < top ? top : y; y < top + layer->kernel_h; y++) {
        const uint32_t in_y = y - layer->pad_top; /* wraps above the image */
        const int8_t *const in_row = in_y < layer->in_h ? input + in_y * layer->in_w * layer->in_c : NULL;
        add_row(&conv, in_row, row, i + p, y - top);
      }
      end = store_row(layer, channels, row, output, p == 0u);
      memset(row, 0, conv.row_size * sizeof *row);
      row = next_row(&conv, row);
    }
    output = end;
  }
}
