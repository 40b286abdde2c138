/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "../loops8.h"
#include "coding.h"
#include "requantization.h"

/* Input-stationary: the tables of eight pixels, stride_w apart, serve every kernel tap that reads them. Rows and columns of the
 * input count from the first padded one, so that output row i reads rows i * stride_h .. i * stride_h + kernel_h - 1. Padding is
 * not looked up: its share of an output at the border is there before the pixels add theirs. Lanes beyond the row are zeros, and
 * what falls beside the outputs goes to the gap between the channels' sums. */
typedef struct {
  const lutra_conv2d *layer;
  lutra_coding coding;
  uint32_t in_h, in_w, out_h, out_w; /* as the pixels are walked through, and only columns in whole pooling windows */
  uint32_t taps, pitch;
  uint32_t *ring, *ring_end; /* sums of the output rows that are under way, column 0 */
  uint32_t *padding;         /* sums of a padded pixel: [tap][output channel] */
  int16_t *columns, *tables;
  uint16_t *offsets; /* of table entries: [block][tap][group][output channel][4 or 8], or of one tap at a time */
} convolution;

/* Subvectors whose tables exist at once. */
typedef struct {
  uint32_t first, count;
} block;

/* An input row's place: kernel row ky of output row i, whose sums are at `sums`. */
typedef struct {
  uint32_t *sums;
  uint32_t i;
  int32_t ky;
} place;

static uint32_t *next_row(const convolution *conv, uint32_t *row) {
  row += conv->pitch * conv->coding.rows;
  return row == conv->ring_end ? conv->ring : row;
}

static block next_block(const convolution *conv, block done) {
  const uint32_t first = done.first + done.count;
  return (block){first, lutra_at_most(conv->coding.subvectors - first, conv->layer->block)};
}

/* Offsets of a row of `count` subvectors. */
static uint32_t lookups(uint32_t count) {
  return (count + 3u) & ~3u;
}

/* The offsets of a tap's entries in the block's tables. */
static void expand(const convolution *conv, block part, uint32_t tap, uint16_t *offsets) {
  const lutra_coding *const coding = &conv->coding;
  for (uint32_t m = 0u, size; m < part.count; m += size) {
    size = lutra_at_most(part.count - m, LUTRA_GROUP);
    lutra_expand8(lutra_group_indices(coding, tap, part.first + m), coding->index_bits, coding->codewords, size, coding->rows,
                  offsets);
    offsets += coding->rows * LUTRA_LOOKUPS8(size);
  }
}

/* The tables of up to eight pixels x, x + step, .. of the image, zeros where a channel is missing, and a vector of zeros. */
static void build(const convolution *conv, block part, const int8_t *x, uint32_t step, uint32_t pixels) {
  const lutra_coding *const coding = &conv->coding;
  const uint32_t d = coding->subvector;
  int16_t *tables = conv->tables;
  for (uint32_t m = 0u, size; m < part.count; m += size) {
    size = lutra_at_most(part.count - m, LUTRA_CONV2D_LUT8_COLUMNS);
    const uint32_t first = (part.first + m) * d, channels = lutra_at_most(coding->channels - first, size * d);
    lutra_columns8(x + first, step, pixels, channels, conv->columns);
    memset(conv->columns + channels * LUTRA_PIXELS8, 0, (size * d - channels) * LUTRA_PIXELS8 * sizeof *tables);
    lutra_build_tables8(coding->codebook, coding->codewords, d, conv->columns, size, tables);
    tables += size * coding->codewords * LUTRA_PIXELS8;
  }
  memset(tables, 0, LUTRA_PIXELS8 * sizeof *tables);
}

/* Adds what the eight pixels contribute to a tap's outputs. */
static void add_tap(const convolution *conv, block part, uint32_t tap, uint32_t *sums) {
  const lutra_coding *const coding = &conv->coding;
  const uint16_t *offsets = conv->offsets;
  if (conv->layer->keep_offsets != 0u) {
    offsets += coding->rows * (part.first * conv->taps + tap * lookups(part.count));
  } else {
    expand(conv, part, tap, conv->offsets);
  }
  const int16_t *tables = conv->tables;
  for (uint32_t m = 0u, size; m < part.count; m += size) {
    size = LUTRA_LOOKUPS8(lutra_at_most(part.count - m, LUTRA_GROUP));
    lutra_add_lookups8(offsets, size, tables, conv->layer->packed_sums, sums, conv->pitch, coding->rows);
    offsets += coding->rows * size;
    tables += size * coding->codewords * LUTRA_PIXELS8;
  }
}

/* Adds the pixels of an input row. */
static void add_row(const convolution *conv, const int8_t *input, uint32_t pixels, place row) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t stride = layer->stride_w, step = stride * layer->in_c;
  for (block part = next_block(conv, (block){0u, 0u}); part.count > 0u; part = next_block(conv, part)) {
    for (uint32_t kx = 0u; kx < stride && kx < layer->kernel_w; kx++) {
      int32_t j = 0; /* the column of outputs that the first pixel meets at tap kx; at later taps it meets earlier ones */
      uint32_t x = kx;
      for (; x < layer->pad_left; x += stride) {
        j++;
      }
      for (x -= layer->pad_left; x < pixels; x += LUTRA_PIXELS8 * stride, j += (int32_t)LUTRA_PIXELS8) {
        uint32_t count = 0u;
        while (count < LUTRA_PIXELS8 && x + count * stride < pixels) {
          count++;
        }
        build(conv, part, input + x * layer->in_c, step, count);
        place at = row;
        for (; at.ky >= 0 && at.i < conv->out_h; at.ky -= layer->stride_h, at.i++) {
          int32_t column = j;
          for (uint32_t tap = kx; tap < layer->kernel_w; tap += stride, column--) {
            if (column < (int32_t)conv->out_w && column > -(int32_t)LUTRA_PIXELS8) {
              add_tap(conv, part, (uint32_t)at.ky * layer->kernel_w + tap, at.sums + column);
            }
          }
          at.sums = next_row(conv, at.sums);
        }
      }
    }
  }
}

/* What a padded pixel contributes at each tap. */
static void sum_padding(const convolution *conv) {
  const lutra_coding *const coding = &conv->coding;
  int8_t pixel[LUTRA_GROUP * LUTRA_MAX_SUBVECTOR];
  memset(conv->padding, 0, conv->taps * coding->rows * sizeof *conv->padding);
  memset(pixel, conv->layer->input_zero_point, sizeof pixel);
  for (uint32_t group = 0u; group < coding->subvectors; group += LUTRA_GROUP) {
    const uint32_t size = lutra_at_most(coding->subvectors - group, LUTRA_GROUP), last = group + size - 1u;
    const uint32_t length = lutra_subvector_length(coding, last), missing = coding->subvector - length;
    memset(pixel + size * coding->subvector - missing, 0, missing);
    lutra_build_tables(coding->codebook, coding->codewords, coding->subvector, pixel, size, conv->tables);
    uint32_t *sums = conv->padding;
    for (uint32_t tap = 0u; tap < conv->taps; tap++) {
      lutra_add_lookups(lutra_group_indices(coding, tap, group), coding->index_bits, coding->codewords, conv->tables, size, sums,
                        coding->rows);
      sums += coding->rows;
    }
  }
}

/* Positions first .. last - 1 of a kernel lie inside the image; the others are padding. */
typedef struct {
  uint32_t first, last;
} range;

/* `start`: of the window, counted from the first padded position. */
static range inside(uint32_t start, uint32_t kernel, uint32_t padding, uint32_t size) {
  const uint32_t end = padding + size;
  range taps = {start < padding ? lutra_at_most(padding - start, kernel) : 0u, start < end ? lutra_at_most(end - start, kernel) : 0u};
  taps.last = taps.last < taps.first ? taps.first : taps.last;
  return taps;
}

/* Adds a rectangle of taps that are padding to `count` columns. */
static void add_padding(const convolution *conv, range rows, range columns, uint32_t *sums, uint32_t count) {
  const uint32_t out_c = conv->coding.rows, step = conv->layer->kernel_w * out_c;
  if (rows.first < rows.last && columns.first < columns.last) {
    lutra_add_padding8(conv->padding + rows.first * step + columns.first * out_c, step, rows.last - rows.first,
                       columns.last - columns.first, sums, conv->pitch, out_c, count);
  }
}

/* The padding of output row i, whose sums are 0. */
static void begin_row(const convolution *conv, uint32_t *sums, uint32_t i) {
  const lutra_conv2d *const layer = conv->layer;
  if (layer->padded == 0u || i >= conv->out_h) {
    return;
  }
  const uint32_t kernel_h = layer->kernel_h, kernel_w = layer->kernel_w;
  const range rows = inside(i * layer->stride_h, kernel_h, layer->pad_top, conv->in_h), all = {0u, kernel_w};
  add_padding(conv, (range){0u, rows.first}, all, sums, conv->out_w);
  add_padding(conv, (range){rows.last, kernel_h}, all, sums, conv->out_w);
  for (uint32_t j = 0u; j < conv->out_w; j++) {
    const range columns = inside(j * layer->stride_w, kernel_w, layer->pad_left, conv->in_w);
    add_padding(conv, rows, (range){0u, columns.first}, sums + j, 1u);
    add_padding(conv, rows, (range){columns.last, kernel_w}, sums + j, 1u);
  }
}

/* Columns or rows in whole pooling windows. */
static uint32_t whole(uint32_t count, uint32_t pool) {
  uint32_t covered = 0u;
  while (covered + pool <= count) {
    covered += pool;
  }
  return covered;
}

/* Divides the scratch up and clears the sums. */
static void place_tables(convolution *conv, uint32_t flat, uint32_t *scratch) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t rows = conv->coding.rows, in_w = flat ? conv->in_w : layer->in_w, out_w = flat ? conv->out_w : layer->out_w;
  const uint32_t before = LUTRA_CONV2D_LUT8_BEFORE(layer->kernel_w, layer->stride_w, layer->pad_left);
  const uint32_t after = LUTRA_CONV2D_LUT8_AFTER(in_w, out_w, layer->stride_w, layer->pad_left);
  conv->pitch = out_w + (before > after ? before : after);
  conv->ring = scratch + before;
  conv->ring_end = conv->ring;
  for (uint32_t ky = 0u, i = 0u; ky < layer->kernel_h && i < layer->out_h; ky += layer->stride_h, i++) {
    conv->ring_end += conv->pitch * rows;
  }
  conv->padding = conv->ring_end + after;
  memset(scratch, 0, (size_t)(conv->padding - scratch) * sizeof *scratch);
  conv->columns = (int16_t *)(conv->padding + (layer->padded ? conv->taps * rows : 0u));
  conv->offsets = (uint16_t *)(conv->columns + LUTRA_PIXELS8 * LUTRA_CONV2D_LUT8_COLUMNS * conv->coding.subvector);
  conv->tables = (int16_t *)(conv->offsets + rows * (layer->keep_offsets ? conv->taps * lookups(conv->coding.subvectors)
                                                                         : lookups(layer->block)));
}

static void expand_all(const convolution *conv) {
  uint16_t *offsets = conv->offsets;
  for (block part = next_block(conv, (block){0u, 0u}); part.count > 0u; part = next_block(conv, part)) {
    for (uint32_t tap = 0u; tap < conv->taps; tap++) {
      expand(conv, part, tap, offsets);
      offsets += conv->coding.rows * lookups(part.count);
    }
  }
}

void lutra_conv2d_lut8(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                       const int8_t *input, int8_t *output, void *scratch) {
  const lutra_requantization how = LUTRA_REQUANTIZATION(layer);
  convolution conv = {.layer = layer, .coding = LUTRA_CODING(layer, codebook, indices), .in_h = layer->in_h, .in_w = layer->in_w};
  conv.taps = (uint32_t)layer->kernel_h * layer->kernel_w;
  conv.out_h = whole(layer->out_h, layer->pool_h);
  conv.out_w = whole(layer->out_w, layer->pool_w);
  const uint32_t flat = LUTRA_CONV2D_LUT8_FLAT(layer->kernel_h, layer->kernel_w, layer->stride_h, layer->stride_w, layer->pool_h,
                                               layer->pool_w, layer->in_h, layer->in_w, layer->out_h, layer->out_w);
  uint32_t pixels = conv.in_h * conv.in_w; /* of the input that are left */
  if (flat) {
    conv.in_w = conv.out_w = LUTRA_PIXELS8;
    conv.in_h = conv.out_h = (pixels + LUTRA_PIXELS8 - 1u) / LUTRA_PIXELS8;
  }
  place_tables(&conv, flat, scratch);
  if (layer->padded != 0u) {
    sum_padding(&conv);
  }
  if (layer->keep_offsets != 0u) {
    expand_all(&conv);
  }
  uint32_t begun = 0u; /* output rows whose sums are in the ring, or stored */
  for (uint32_t *row = conv.ring; row < conv.ring_end; row += conv.pitch * conv.coding.rows) {
    begin_row(&conv, row, begun++);
  }
  place at = {.sums = conv.ring};
  for (uint32_t y = 0u, pool_y = 0u; at.i < conv.out_h; at.i++) {
    const uint32_t top = at.i * layer->stride_h, in_w = lutra_at_most(conv.in_w, pixels);
    for (y = y < top ? top : y; y < top + layer->kernel_h; y++) {
      const uint32_t in_y = y - layer->pad_top; /* wraps above the image */
      if (in_y < conv.in_h) {
        at.ky = (int32_t)(y - top);
        add_row(&conv, input + in_y * conv.in_w * layer->in_c, in_w, at);
      }
    }
    const uint32_t columns = flat ? in_w : conv.out_w / layer->pool_w;
    lutra_requantize8(&how, channels, conv.coding.rows, at.sums, conv.pitch, columns, layer->pool_w, pool_y, output);
    begin_row(&conv, at.sums, begun++);
    at.sums = next_row(&conv, at.sums);
    if (++pool_y == layer->pool_h) {
      pool_y = 0u;
      output += columns * conv.coding.rows;
    }
    pixels -= flat ? in_w : 0u;
  }
}
