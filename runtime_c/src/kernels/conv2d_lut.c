/* SPDX-License-Identifier: Apache-2.0 */
#include "../bytes.h"
#include "coding.h"
#include "requantization.h"

/* Input-stationary: the tables of two pixels serve every kernel tap that reads them. Output row i reads input rows
 * i * stride_h - pad_top and on. Padding is not looked up: its share of an output at the border is there before the pixels add
 * theirs. */
typedef struct {
  const lutra_conv2d *layer;
  lutra_coding coding;
  uint32_t taps, row_size;
  uint32_t *ring, *ring_end; /* sums of the output rows that are under way */
  uint32_t *spare;           /* sums of a pixel outside the image */
  uint32_t *padding;         /* what a padded pixel adds at each tap: [tap][output channel] */
  uint32_t *tables;
  uint8_t *offsets; /* of table entries: [block][kernel row][position][output channel][subvector of the block], or of one tap */
  uint32_t offset_bytes; /* 1 if all tables are near, else 2 */
  uint32_t form;         /* of lookups: loops.h */
  uint32_t first, count; /* subvectors whose tables exist at once: a block */
  uint32_t *sums;        /* of output row i, which an input row meets with kernel row ky */
  uint32_t i;
  int32_t ky;
} convolution;

/* Taps of a kernel row that meet the same pixels are a stride apart: a phase. Their positions are in the order of the output columns
 * that they serve, from the last tap of phase 0 down to the first, then phase 1: one pass over offsets and sums does a phase. */
LUTRA_OUT_OF_LINE static uint32_t tap_at(const lutra_conv2d *layer, uint32_t position) {
  const uint32_t stride = layer->stride_w;
  for (uint32_t phase = 0u;; phase++) {
    uint32_t kx = phase;
    while (kx + stride < layer->kernel_w) {
      kx += stride;
    }
    for (;; kx -= stride) {
      if (position-- == 0u) {
        return kx;
      }
      if (kx == phase) {
        break;
      }
    }
  }
}

static uint32_t *next_row(const convolution *conv, uint32_t *row) {
  row += conv->row_size;
  return row == conv->ring_end ? conv->ring : row;
}

/* Goes on to the next block; returns 0 if there is none, and then begins anew. */
LUTRA_OUT_OF_LINE static uint32_t next_block(convolution *conv) {
  const uint32_t first = conv->first + conv->count;
  conv->count = lutra_at_most(conv->coding.subvectors - first, conv->layer->block);
  conv->first = conv->count > 0u ? first : 0u;
  return conv->count;
}

/* The offsets, of type `type`, that the indices of a row stand for; `table` is that of the first one's table. Returns the end of the
 * indices. */
#define EXPAND_ROW(name, type)                                                                                                   \
  LUTRA_OUT_OF_LINE static const uint8_t *name(const uint8_t *row, uint32_t index_bits, uint32_t table, uint32_t table_bytes,    \
                                               type *offsets, const type *end) {                                                 \
    const uint32_t mask = table_bytes - (uint32_t)sizeof(uint32_t); /* any index is legal */                                     \
    do {                                                                                                                        \
      uint32_t index = (uint32_t)*row++ << 2;                                                                                   \
      if (index_bits == 4u) {                                                                                                   \
        *offsets++ = (type)(table + (index & mask));                                                                            \
        table += table_bytes;                                                                                                   \
        if (offsets == end) {                                                                                                   \
          break;                                                                                                                \
        }                                                                                                                       \
        index >>= 4;                                                                                                            \
      }                                                                                                                         \
      *offsets++ = (type)(table + (index & mask));                                                                              \
      table += table_bytes;                                                                                                     \
    } while (offsets != end);                                                                                                   \
    return row;                                                                                                                  \
  }
EXPAND_ROW(expand_near, uint8_t)
EXPAND_ROW(expand_far, uint16_t)

/* Sets the offsets of a kernel row's position in the tables of the block. */
LUTRA_OUT_OF_LINE static void expand(const convolution *conv, uint32_t ky, uint32_t position, uint8_t *offsets) {
  const uint32_t table_bytes = conv->coding.codewords * (uint32_t)sizeof *conv->tables, bytes = conv->offset_bytes;
  const uint32_t tap = ky * conv->layer->kernel_w + tap_at(conv->layer, position);
  for (uint32_t m = 0u; m < conv->count; m += LUTRA_GROUP) {
    const uint8_t *row = lutra_group_indices(&conv->coding, tap, conv->first + m);
    const uint32_t size = lutra_at_most(conv->count - m, LUTRA_GROUP);
    uint8_t *column = offsets + m * bytes;
    for (uint32_t n = conv->coding.rows; n > 0u; n--) {
      if (bytes == 1u) {
        row = expand_near(row, conv->coding.index_bits, m * table_bytes, table_bytes, column, column + size);
      } else {
        uint16_t *const far = (uint16_t *)(void *)column;
        row = expand_far(row, conv->coding.index_bits, m * table_bytes, table_bytes, far, far + size);
      }
      column += conv->count * bytes;
    }
  }
}

/* Where the offsets of a kernel row's position are. */
static uint8_t *offsets_at(const convolution *conv, uint32_t ky, uint32_t position) {
  const lutra_conv2d *const layer = conv->layer;
  if (layer->keep_offsets == 0u) {
    return conv->offsets;
  }
  const uint32_t before = conv->first * conv->taps + (ky * layer->kernel_w + position) * conv->count;
  return conv->offsets + before * layer->out_c * conv->offset_bytes;
}

/* Adds two pixels at `columns` adjacent positions of a kernel row; the sums of column after column follow a and b. */
LUTRA_OUT_OF_LINE static void add_columns(const convolution *conv, uint32_t ky, uint32_t position, uint32_t columns, uint32_t *a,
                                          uint32_t *b) {
  const lutra_conv2d *const layer = conv->layer;
  uint32_t rows = layer->out_c;
  if (layer->keep_offsets != 0u) {
    rows *= columns;
    columns = 1u;
  }
  do {
    uint8_t *const offsets = offsets_at(conv, ky, position);
    if (layer->keep_offsets == 0u) {
      expand(conv, ky, position, offsets);
    }
    lutra_add_pixel_lookups(offsets, conv->count, conv->tables, conv->form, a, b, rows);
    a += rows;
    b += rows;
    position++;
  } while (--columns > 0u);
}

/* The tables of one subvector of two pixels; zeros stand for channels that the last subvector lacks. */
LUTRA_OUT_OF_LINE static void build_one(const convolution *conv, uint32_t m, const int8_t *a, const int8_t *b) {
  const lutra_coding *const coding = &conv->coding;
  uint32_t tails[2u * LUTRA_MAX_SUBVECTOR / sizeof(uint32_t)];
  int8_t *const tail_a = (int8_t *)tails, *const tail_b = tail_a + LUTRA_MAX_SUBVECTOR;
  const uint32_t length = lutra_subvector_length(coding, conv->first + m);
  lutra_clear(tails, sizeof tails / sizeof *tails);
  lutra_copy_bytes(tail_a, a, length);
  lutra_copy_bytes(tail_b, b, length);
  lutra_build_pixel_tables(coding->codebook, coding->codewords, coding->subvector, tail_a, tail_b, 1u,
                           conv->tables + m * coding->codewords);
}

static void build(const convolution *conv, const int8_t *a, const int8_t *b) {
  const lutra_coding *const coding = &conv->coding;
  const uint32_t d = coding->subvector, last = conv->count - 1u;
  uint32_t whole = conv->count;
  a += conv->first * d;
  b += conv->first * d;
  if (lutra_subvector_length(coding, conv->first + last) < d) {
    build_one(conv, last, a + last * d, b + last * d);
    whole = last;
  }
  if (whole > 0u) {
    lutra_build_pixel_tables(coding->codebook, coding->codewords, d, a, b, whole, conv->tables);
  }
}

/* Expands all indices, and looks up what a padded pixel adds, as far as the layer has to. */
static void prepare(convolution *conv) {
  const lutra_conv2d *const layer = conv->layer;
  int8_t pixel[LUTRA_MAX_SUBVECTOR];
  lutra_fill(pixel, layer->input_zero_point, sizeof pixel);
  if (layer->padded != 0u) {
    lutra_clear(conv->padding, conv->taps * layer->out_c);
  }
  while (next_block(conv)) {
    for (uint32_t m = 0u; layer->padded != 0u && m < conv->count; m++) {
      build_one(conv, m, pixel, pixel);
    }
    for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
      for (uint32_t position = 0u; position < layer->kernel_w; position++) {
        if (layer->keep_offsets != 0u) {
          expand(conv, ky, position, offsets_at(conv, ky, position));
        }
        if (layer->padded != 0u) {
          const uint32_t tap = ky * layer->kernel_w + tap_at(layer, position);
          add_columns(conv, ky, position, 1u, conv->padding + tap * layer->out_c, conv->spare);
        }
      }
    }
  }
}

LUTRA_OUT_OF_LINE static void add_sums(uint32_t *sums, const uint32_t *more, uint32_t count) {
  do {
    *sums++ += *more++;
  } while (--count > 0u);
}

/* Whether a window reaches beyond the image; positions above or left of it wrap to large numbers. */
static uint32_t reaches_beyond(uint32_t start, uint32_t kernel, uint32_t size) {
  return start >= size || start + kernel > size;
}

/* Adds the padded taps of a window to the sums of a pixel: all those of kernel rows outside the image, or all others. */
LUTRA_OUT_OF_LINE static void add_padding(const convolution *conv, uint32_t *sums, uint32_t y, uint32_t x, uint32_t rows) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t *padding = conv->padding;
  for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
    for (uint32_t kx = 0u; kx < layer->kernel_w; kx++) {
      if ((y + ky >= layer->in_h) == rows && (rows || x + kx >= layer->in_w)) {
        add_sums(sums, padding, layer->out_c);
      }
      padding += layer->out_c;
    }
  }
}

/* Makes the sums of output row i those of its padded taps. */
LUTRA_OUT_OF_LINE static void begin_row(const convolution *conv, uint32_t *sums, uint32_t i) {
  const lutra_conv2d *const layer = conv->layer;
  if (i >= layer->out_h) {
    return;
  }
  lutra_clear(sums, conv->row_size);
  if (layer->padded == 0u) {
    return;
  }
  uint32_t y = i * layer->stride_h - layer->pad_top, x = 0u - layer->pad_left;
  const uint32_t beyond = reaches_beyond(y, layer->kernel_h, layer->in_h);
  lutra_clear(conv->spare, layer->out_c);
  add_padding(conv, conv->spare, y, x, 1u);
  for (uint32_t j = layer->out_w; j > 0u; j--, x += layer->stride_w, sums += layer->out_c) {
    if (beyond) {
      add_sums(sums, conv->spare, layer->out_c);
    }
    if (reaches_beyond(x, layer->kernel_w, layer->in_w)) {
      add_padding(conv, sums, y, x, 0u);
    }
  }
}

/* Adds two pixels, whose tables are built, to every output that reads them: the first one at the `taps` positions of a phase, of
 * which the first one serves column `first`, the second one, if there is one, a column further. */
static void add_pair(const convolution *conv, uint32_t position, int32_t first, int32_t taps, uint32_t second) {
  const lutra_conv2d *const layer = conv->layer;
  const int32_t out_w = layer->out_w, out_c = layer->out_c;
  uint32_t *sums = conv->sums, i = conv->i;
  for (int32_t ky = conv->ky; ky >= 0 && i < layer->out_h; ky -= layer->stride_h, i++) {
    int32_t column = first < -1 ? -1 : first; /* where the second pixel may still be inside */
    while (column < first + taps && column < out_w) {
      const int32_t end = first + taps < out_w - 1 ? first + taps : out_w - 1;
      uint32_t *const a = column >= 0 ? sums + column * out_c : conv->spare;
      uint32_t *b = conv->spare;
      int32_t columns = 1;
      if (second != 0u && column + 1 < out_w) {
        b = sums + (column + 1) * out_c;
        columns = column >= 0 ? end - column : 1;
      }
      if (a != b) {
        add_columns(conv, (uint32_t)ky, position + (uint32_t)(column - first), (uint32_t)columns, a, b);
      }
      column += columns;
    }
    sums = next_row(conv, sums);
  }
}

/* Adds the pixels of an input row, two that are stride_w apart at a time. */
static void add_row(convolution *conv, const int8_t *input) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t stride = layer->stride_w;
  while (next_block(conv)) {
    uint32_t position = 0u;
    for (uint32_t phase = 0u; phase < stride && phase < layer->kernel_w; phase++) {
      int32_t taps = 0, column = 1;
      for (uint32_t kx = phase; kx < layer->kernel_w; kx += stride) {
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
        build(conv, a, second ? a + stride * layer->in_c : a);
        add_pair(conv, position, column, taps, second);
        column += 2;
      }
      position += (uint32_t)taps;
    }
  }
}

/* Joins a row of sums with the maxima of the pooling windows it belongs to; returns the end of the output row. */
static int8_t *store_row(const lutra_conv2d *layer, const lutra_channel *channels, uint32_t *sums, uint32_t pool_y, int8_t *output) {
  const lutra_requantization *const how = LUTRA_REQUANTIZATION(layer);
  const uint32_t out_c = layer->out_c, out_w = layer->out_w;
  if (layer->pool_h * layer->pool_w == 1u) {
    lutra_requantize(how, channels, sums, out_c, out_w, output, out_c);
    return output + out_w * out_c;
  }
  for (uint32_t j = layer->pool_w; j <= out_w; j += layer->pool_w) {
    for (uint32_t pool_x = 0u; pool_x < layer->pool_w; pool_x++) {
      lutra_store_pixel(how, channels, sums, out_c, output, pool_y | pool_x);
      sums += out_c;
    }
    output += out_c;
  }
  return output;
}

void lutra_conv2d_lut(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                      const int8_t *input, int8_t *output, void *scratch) {
  convolution conv;
  lutra_begin_coding(&conv.coding, &layer->log2_codewords, codebook, indices, layer->in_c, layer->out_c);
  conv.layer = layer;
  conv.taps = (uint32_t)layer->kernel_h * layer->kernel_w;
  conv.row_size = (uint32_t)layer->out_w * layer->out_c;
  conv.tables = scratch;
  conv.ring = conv.tables + layer->block * conv.coding.codewords;
  conv.ring_end = conv.ring;
  for (uint32_t ky = 0u, i = 0u; ky < layer->kernel_h && i < layer->out_h; ky += layer->stride_h, i++) {
    conv.ring_end += conv.row_size;
  }
  conv.spare = conv.ring_end;
  conv.padding = conv.spare + layer->out_c;
  conv.offsets = (uint8_t *)(conv.padding + (layer->padded ? conv.taps * layer->out_c : 0u));
  conv.offset_bytes = LUTRA_CONV2D_LUT_OFFSET_BYTES(conv.coding.codewords, layer->block);
  conv.form = layer->packed_sums + LUTRA_FAR * (conv.offset_bytes - 1u);
  conv.first = conv.count = 0u;
  prepare(&conv);
  uint32_t begun = 0u; /* output rows whose sums are in the ring, or stored */
  for (uint32_t *row = conv.ring; row < conv.ring_end; row += conv.row_size) {
    begin_row(&conv, row, begun++);
  }
  conv.sums = conv.ring;
  conv.i = 0u;
  for (uint32_t y = 0u, pool_y = 0u; conv.i - pool_y + layer->pool_h <= layer->out_h; conv.i++) {
    const uint32_t top = conv.i * layer->stride_h;
    for (y = y < top ? top : y; y < top + layer->kernel_h; y++) {
      const uint32_t in_y = y - layer->pad_top; /* wraps above the image */
      if (in_y < layer->in_h) {
        conv.ky = (int32_t)(y - top);
        add_row(&conv, input + in_y * layer->in_w * layer->in_c);
      }
    }
    int8_t *const end = store_row(layer, channels, conv.sums, pool_y, output);
    begin_row(&conv, conv.sums, begun++);
    conv.sums = next_row(&conv, conv.sums);
    if (++pool_y == layer->pool_h) {
      pool_y = 0u;
      output = end;
    }
  }
}
