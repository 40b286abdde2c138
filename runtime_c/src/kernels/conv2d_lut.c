/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "coding.h"
#include "requantization.h"
#include "window.h"

/* Input-stationary: the tables of two pixels serve every kernel tap that reads them. Rows and columns of the input count from the
 * first padded one, so that output row i reads rows i * stride_h .. i * stride_h + kernel_h - 1. Padding is not looked up: its
 * share of an output at the border is there before the pixels add theirs. */
typedef struct {
  const lutra_conv2d *layer;
  lutra_coding coding;
  uint32_t taps, row_size;
  uint32_t *ring, *ring_end; /* sums of the output rows that are under way */
  uint32_t *spare;           /* sums of a pixel outside the image */
  uint32_t *padding;         /* of a padded pixel: sums over all taps above and left of a tap, with it: [tap][output channel] */
  uint32_t *tables;
  uint8_t *offsets; /* of table entries: [block][kernel row][position][output channel][subvector of the block], or of one tap */
  uint32_t offset_bytes; /* 1 if all tables are near, else 2 */
} convolution;

/* Taps of a kernel row that meet the same pixels are a stride apart: a phase. Their positions are in the order of the output columns
 * that they serve, from the last tap of phase 0 down to the first, then phase 1: one pass over offsets and sums does a phase. */
static uint32_t last_tap(const lutra_conv2d *layer, uint32_t phase) {
  while (phase + layer->stride_w < layer->kernel_w) {
    phase += layer->stride_w;
  }
  return phase;
}

static uint32_t next_tap(const lutra_conv2d *layer, uint32_t kx) {
  return kx >= layer->stride_w ? kx - layer->stride_w : last_tap(layer, kx + 1u);
}

/* An input row's place: kernel row ky of output row i, whose sums are at `sums`. */
typedef struct {
  uint32_t *sums;
  uint32_t i;
  int32_t ky;
} place;

/* Subvectors whose tables exist at once. */
typedef struct {
  uint32_t first, count;
} block;

static uint32_t *next_row(const convolution *conv, uint32_t *row) {
  row += conv->row_size;
  return row == conv->ring_end ? conv->ring : row;
}

static block next_block(const convolution *conv, block done) {
  const uint32_t first = done.first + done.count;
  return (block){first, lutra_at_most(conv->coding.subvectors - first, conv->layer->block)};
}

/* The offsets, of type `type`, that the indices of a row stand for; `table` is that of the first one's table. Returns the end of the
 * indices. */
#define EXPAND_ROW(name, type)                                                                                                   \
  LUTRA_OUT_OF_LINE static const uint8_t *name(const uint8_t *row, uint32_t index_bits, uint32_t table, uint32_t table_bytes,    \
                                               type *offsets, const type *end) {                                                 \
    const uint32_t mask = table_bytes - (uint32_t)sizeof(uint32_t); /* any index is legal */                                     \
    do {                                                                                                                         \
      const uint32_t index = (uint32_t)*row++ << 2;                                                                              \
      *offsets++ = (type)(table + (index & mask));                                                                               \
      table += table_bytes;                                                                                                      \
      if (index_bits == 4u && offsets != end) {                                                                                  \
        *offsets++ = (type)(table + (index >> 4 & mask));                                                                        \
        table += table_bytes;                                                                                                    \
      }                                                                                                                          \
    } while (offsets != end);                                                                                                    \
    return row;                                                                                                                  \
  }
EXPAND_ROW(expand_near, uint8_t)
EXPAND_ROW(expand_far, uint16_t)

/* The offsets of a tap's entries in the tables of a block. */
static void expand(const convolution *conv, uint32_t tap, block part, uint8_t *offsets) {
  const uint32_t table_bytes = conv->coding.codewords * (uint32_t)sizeof *conv->tables, bytes = conv->offset_bytes;
  for (uint32_t m = 0u; m < part.count; m += LUTRA_GROUP) {
    const uint8_t *row = lutra_group_indices(&conv->coding, tap, part.first + m);
    const uint32_t size = lutra_at_most(part.count - m, LUTRA_GROUP);
    uint8_t *column = offsets + m * bytes;
    for (uint32_t n = conv->coding.rows; n > 0u; n--) {
      if (bytes == 1u) {
        row = expand_near(row, conv->coding.index_bits, m * table_bytes, table_bytes, column, column + size);
      } else {
        uint16_t *const far = (uint16_t *)(void *)column;
        row = expand_far(row, conv->coding.index_bits, m * table_bytes, table_bytes, far, far + size);
      }
      column += part.count * bytes;
    }
  }
}

static void expand_all(const convolution *conv) {
  const lutra_conv2d *const layer = conv->layer;
  uint8_t *offsets = conv->offsets;
  for (block part = next_block(conv, (block){0u, 0u}); part.count > 0u; part = next_block(conv, part)) {
    for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
      uint32_t kx = last_tap(layer, 0u);
      for (uint32_t position = 0u; position < layer->kernel_w; position++) {
        expand(conv, ky * layer->kernel_w + kx, part, offsets);
        offsets += part.count * layer->out_c * conv->offset_bytes;
        kx = next_tap(layer, kx);
      }
    }
  }
}

/* Adds two pixels at `columns` adjacent positions of a kernel row, of which kx is the first; the sums of column after column follow
 * a and b. */
static void add_columns(const convolution *conv, block part, uint32_t ky, uint32_t position, uint32_t kx, uint32_t columns,
                        uint32_t *a, uint32_t *b) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t out_c = conv->coding.rows, row_tap = ky * layer->kernel_w;
  const uint8_t *offsets = conv->offsets;
  uint32_t rows = out_c;
  if (layer->keep_offsets != 0u) {
    offsets += (part.first * conv->taps + (row_tap + position) * part.count) * out_c * conv->offset_bytes;
    rows *= columns;
    columns = 1u;
  }
  for (; columns > 0u; columns--) {
    if (layer->keep_offsets == 0u) {
      expand(conv, row_tap + kx, part, conv->offsets);
      kx -= layer->stride_w;
    }
    if (conv->offset_bytes == 1u) {
      lutra_add_near_lookups(offsets, part.count, conv->tables, layer->packed_sums, a, b, rows);
    } else {
      lutra_add_pixel_lookups((const uint16_t *)(const void *)offsets, part.count, conv->tables, layer->packed_sums, a, b, rows);
    }
    a += rows;
    b += rows;
  }
}

/* The tables of one subvector of two pixels; zeros stand for channels that the last subvector lacks. */
static void build_one(const convolution *conv, block part, uint32_t m, const int8_t *a, const int8_t *b) {
  const lutra_coding *const coding = &conv->coding;
  int8_t tail_a[LUTRA_MAX_SUBVECTOR] = {0}, tail_b[LUTRA_MAX_SUBVECTOR] = {0};
  const uint32_t length = lutra_subvector_length(coding, part.first + m);
  memcpy(tail_a, a, length);
  memcpy(tail_b, b, length);
  lutra_build_pixel_tables(coding->codebook, coding->codewords, coding->subvector, tail_a, tail_b, 1u,
                           conv->tables + m * coding->codewords);
}

static void build(const convolution *conv, block part, const int8_t *a, const int8_t *b) {
  const lutra_coding *const coding = &conv->coding;
  const uint32_t d = coding->subvector, last = part.count - 1u;
  uint32_t whole = part.count;
  a += part.first * d;
  b += part.first * d;
  if (lutra_subvector_length(coding, part.first + last) < d) {
    build_one(conv, part, last, a + last * d, b + last * d);
    whole = last;
  }
  if (whole > 0u) {
    lutra_build_pixel_tables(coding->codebook, coding->codewords, d, a, b, whole, conv->tables);
  }
}

LUTRA_OUT_OF_LINE static void add_sums(uint32_t *sums, const uint32_t *more, uint32_t count, uint32_t sign) {
  do {
    *sums++ += sign * *more++;
  } while (--count > 0u);
}

/* What a padded pixel contributes at each tap, then summed along both axes. */
static void sum_padding(const convolution *conv) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t row = (uint32_t)layer->kernel_w * layer->out_c;
  int8_t pixel[LUTRA_MAX_SUBVECTOR];
  memset(pixel, layer->input_zero_point, sizeof pixel);
  memset(conv->padding, 0, conv->taps * layer->out_c * sizeof *conv->padding);
  for (block part = next_block(conv, (block){0u, 0u}); part.count > 0u; part = next_block(conv, part)) {
    for (uint32_t m = 0u; m < part.count; m++) {
      build_one(conv, part, m, pixel, pixel);
    }
    for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
      uint32_t kx = last_tap(layer, 0u);
      for (uint32_t position = 0u; position < layer->kernel_w; position++) {
        add_columns(conv, part, ky, position, kx, 1u, conv->padding + ky * row + kx * layer->out_c, conv->spare);
        kx = next_tap(layer, kx);
      }
    }
  }
  uint32_t *sums = conv->padding;
  for (uint32_t ky = 0u; ky < layer->kernel_h; ky++, sums += row) {
    if (layer->kernel_w > 1u) {
      add_sums(sums + layer->out_c, sums, row - layer->out_c, 1u);
    }
    if (ky > 0u) {
      add_sums(sums, sums - row, row, 1u);
    }
  }
}

/* Adds the padding of the taps before (end_y, end_x) to the sums of a pixel. */
static void add_padding(const convolution *conv, uint32_t *sums, uint32_t end_y, uint32_t end_x, uint32_t sign) {
  if (end_y > 0u && end_x > 0u) {
    const uint32_t tap = (end_y - 1u) * conv->layer->kernel_w + end_x - 1u;
    add_sums(sums, conv->padding + tap * conv->layer->out_c, conv->layer->out_c, sign);
  }
}

/* Makes the sums of output row i those of its padded taps: of all but those inside. */
static void begin_row(const convolution *conv, uint32_t *sums, uint32_t i) {
  const lutra_conv2d *const layer = conv->layer;
  if (i >= layer->out_h) {
    return;
  }
  memset(sums, 0, conv->row_size * sizeof *sums);
  if (layer->padded == 0u) {
    return;
  }
  const lutra_range y = lutra_inside(i * layer->stride_h, layer->kernel_h, layer->pad_top, layer->in_h);
  for (uint32_t j = 0u; j < layer->out_w; j++, sums += layer->out_c) {
    const lutra_range x = lutra_inside(j * layer->stride_w, layer->kernel_w, layer->pad_left, layer->in_w);
    if (y.end - y.begin == layer->kernel_h && x.end - x.begin == layer->kernel_w) {
      continue;
    }
    if (y.end < layer->kernel_h || x.end < layer->kernel_w) {
      add_padding(conv, sums, layer->kernel_h, layer->kernel_w, 1u);
      add_padding(conv, sums, y.end, x.end, 0u - 1u);
    }
    add_padding(conv, sums, y.begin, x.end, 1u);
    add_padding(conv, sums, y.end, x.begin, 1u);
    add_padding(conv, sums, y.begin, x.begin, 0u - 1u);
  }
}

/* Adds two pixels, whose tables are built, to every output that reads them: the first one at the taps of a phase, of which tap
 * last_tap(phase) serves column `first`, the second one, if there is one, a column further. */
static void add_pair(const convolution *conv, place at, block part, uint32_t position, uint32_t last_kx, int32_t first, int32_t taps,
                     uint32_t second) {
  const lutra_conv2d *const layer = conv->layer;
  const int32_t out_w = layer->out_w, out_c = layer->out_c;
  for (; at.ky >= 0 && at.i < layer->out_h; at.ky -= layer->stride_h, at.i++) {
    int32_t column = first < -1 ? -1 : first; /* where the second pixel may still be inside */
    while (column < first + taps && column < out_w) {
      const uint32_t skipped = (uint32_t)(column - first);
      const int32_t end = first + taps < out_w - 1 ? first + taps : out_w - 1;
      uint32_t *const a = column >= 0 ? at.sums + column * out_c : conv->spare;
      uint32_t *b = conv->spare;
      int32_t columns = 1;
      if (second != 0u && column + 1 < out_w) {
        b = at.sums + (column + 1) * out_c;
        columns = column >= 0 ? end - column : 1;
      }
      if (a != b) {
        add_columns(conv, part, (uint32_t)at.ky, position + skipped, last_kx - skipped * layer->stride_w, (uint32_t)columns, a, b);
      }
      column += columns;
    }
    at.sums = next_row(conv, at.sums);
  }
}

/* Adds the pixels of an input row, two that are stride_w apart at a time. */
static void add_row(const convolution *conv, const int8_t *input, place at) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t stride = layer->stride_w;
  for (block part = next_block(conv, (block){0u, 0u}); part.count > 0u; part = next_block(conv, part)) {
    uint32_t position = 0u;
    for (uint32_t phase = 0u; phase < stride && phase < layer->kernel_w; phase++) {
      const uint32_t last_kx = last_tap(layer, phase);
      int32_t taps = 1, column = 0;
      for (uint32_t kx = phase; kx < last_kx; kx += stride) {
        taps++;
        column--;
      }
      uint32_t x = phase;
      for (; x < layer->pad_left; x += stride) {
        column++;
      }
      for (x -= layer->pad_left; x < layer->in_w && column < layer->out_w; x += 2u * stride) {
        const int8_t *const a = input + x * layer->in_c;
        const uint32_t second = x + stride < layer->in_w;
        build(conv, part, a, second ? a + stride * layer->in_c : a);
        add_pair(conv, at, part, position, last_kx, column, taps, second);
        column += 2;
      }
      position += (uint32_t)taps;
    }
  }
}

/* Joins a row of sums with the maxima of the pooling windows it belongs to; returns the end of the output row. */
static int8_t *store_row(const lutra_conv2d *layer, const lutra_channel *channels, const uint32_t *sums, uint32_t pool_y,
                         int8_t *output) {
  const lutra_requantization how = LUTRA_REQUANTIZATION(layer);
  if (layer->pool_h * layer->pool_w == 1u) {
    lutra_requantize(&how, channels, sums, layer->out_c, layer->out_w, output, layer->out_c);
    return output + layer->out_w * layer->out_c;
  }
  for (uint32_t j = 0u; j + layer->pool_w <= layer->out_w; j += layer->pool_w) {
    for (uint32_t pool_x = 0u; pool_x < layer->pool_w; pool_x++) {
      if ((pool_y | pool_x) == 0u) {
        lutra_requantize(&how, channels, sums, layer->out_c, 1u, output, 0u);
      } else {
        lutra_requantize_max(&how, channels, sums, layer->out_c, output);
      }
      sums += layer->out_c;
    }
    output += layer->out_c;
  }
  return output;
}

void lutra_conv2d_lut(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                      const int8_t *input, int8_t *output, void *scratch) {
  convolution conv = {.layer = layer, .coding = LUTRA_CODING(layer, codebook, indices), .tables = scratch};
  conv.taps = (uint32_t)layer->kernel_h * layer->kernel_w;
  conv.row_size = (uint32_t)layer->out_w * layer->out_c;
  conv.ring = conv.tables + layer->block * conv.coding.codewords;
  conv.ring_end = conv.ring;
  for (uint32_t ky = 0u, i = 0u; ky < layer->kernel_h && i < layer->out_h; ky += layer->stride_h, i++) {
    conv.ring_end += conv.row_size;
  }
  conv.spare = conv.ring_end;
  conv.padding = conv.spare + layer->out_c;
  conv.offsets = (uint8_t *)(conv.padding + (layer->padded ? conv.taps * layer->out_c : 0u));
  conv.offset_bytes = LUTRA_CONV2D_LUT_OFFSET_BYTES(conv.coding.codewords, layer->block);

  if (layer->keep_offsets != 0u) {
    expand_all(&conv);
  }
  if (layer->padded != 0u) {
    sum_padding(&conv);
  }
  uint32_t begun = 0u; /* output rows whose sums are in the ring, or stored */
  for (uint32_t *row = conv.ring; row < conv.ring_end; row += conv.row_size) {
    begin_row(&conv, row, begun++);
  }
  place at = {.sums = conv.ring};
  uint32_t y = 0u;
  for (uint32_t i = 0u; i + layer->pool_h <= layer->out_h; i += layer->pool_h) {
    int8_t *end = output;
    for (uint32_t pool_y = 0u; pool_y < layer->pool_h; pool_y++) {
      at.i = i + pool_y;
      const uint32_t top = at.i * layer->stride_h;
      for (y = y < top ? top : y; y < top + layer->kernel_h; y++) {
        const uint32_t in_y = y - layer->pad_top; /* wraps above the image */
        if (in_y < layer->in_h) {
          at.ky = (int32_t)(y - top);
          add_row(&conv, input + in_y * layer->in_w * layer->in_c, at);
        }
      }
      end = store_row(layer, channels, at.sums, pool_y, output);
      begin_row(&conv, at.sums, begun++);
      at.sums = next_row(&conv, at.sums);
    }
    output = end;
  }
}
