/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "../loops8.h"
#include "coding.h"
#include "requantization.h"

/* The tables of an input row have a lane for each of its pixels, padded ones included, so that what an output looks up at a
 * kernel row lies in adjacent lanes. If the stride is 2, say, even and odd columns take turns: phases. Rows and columns of the
 * input count from the first padded one, so that output row i reads rows i * stride_h .. i * stride_h + kernel_h - 1. Padded rows
 * are not looked up: their share of an output is the same in every column. */
typedef struct {
  const lutra_conv2d *layer;
  lutra_coding coding;
  uint32_t in_h, in_w, out_h, out_w; /* as they are walked through, outputs only in whole pooling windows */
  uint32_t lanes, pitch;
  uint32_t *ring, *ring_end; /* sums of the output rows that are under way */
  uint32_t *padding;         /* what a padded row adds: [kernel row][output channel] */
  void *columns; /* scratch of lutra_build_tables8 */
  int16_t *tables;
  uint16_t *offsets; /* of table entries: [block][phase][kernel row][group][output channel][tap of the phase][subvector], or of
                        one group at a kernel row; an output channel's are filled up to a multiple of four */
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

static uint32_t in_fours(uint32_t count) {
  return (count + 3u) & ~3u;
}

/* Kernel columns that a phase meets: `phase`, phase + stride_w, .. */
static uint32_t taps_of_phase(const lutra_conv2d *layer, uint32_t phase) {
  return (layer->kernel_w - phase + layer->stride_w - 1u) / layer->stride_w;
}

/* The lane of a phase's first pixel inside the image. */
static uint32_t margin(const lutra_conv2d *layer, uint32_t phase) {
  return layer->pad_left > phase ? (layer->pad_left - phase + layer->stride_w - 1u) / layer->stride_w : 0u;
}

/* The offsets of a group's lookups at the phase's taps of a kernel row, in tables whose lane 0 is that of the first of the taps.
 * Four subvectors have a table; those that are missing have entries of zeros, which fill rows up. */
static uint16_t *expand(const convolution *conv, uint32_t group, uint32_t size, uint32_t phase, uint32_t ky, uint16_t *offsets) {
  const lutra_coding *const coding = &conv->coding;
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t used = taps_of_phase(layer, phase) * size, step = in_fours(used);
  for (uint32_t kx = phase, lane = 0u; kx < layer->kernel_w; kx += layer->stride_w, lane++) {
    lutra_expand8(lutra_group_indices(coding, ky * layer->kernel_w + kx, group), coding->index_bits, coding->codewords, size,
                  coding->rows, conv->lanes, lane * (uint32_t)sizeof *conv->tables, offsets + lane * size, step);
  }
  const uint32_t zeros = ((size >> 2) * LUTRA_SUBVECTORS8 * coding->codewords + (size & 3u)) * conv->lanes;
  uint16_t *const end = offsets + step * coding->rows;
  for (uint32_t i = used; i < step; i++) {
    for (uint16_t *row = offsets; row < end; row += step) {
      row[i] = (uint16_t)(zeros * sizeof *conv->tables);
    }
  }
  return end;
}

static void expand_all(const convolution *conv) {
  const lutra_conv2d *const layer = conv->layer;
  uint16_t *offsets = conv->offsets;
  for (block part = next_block(conv, (block){0u, 0u}); part.count > 0u; part = next_block(conv, part)) {
    for (uint32_t phase = 0u; phase < layer->stride_w && phase < layer->kernel_w; phase++) {
      for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
        for (uint32_t m = 0u; m < part.count; m += LUTRA_GROUP) {
          offsets = expand(conv, part.first + m, lutra_at_most(part.count - m, LUTRA_GROUP), phase, ky, offsets);
        }
      }
    }
  }
}

/* Eight lanes of the block's tables, from `lane` on. */
static void build(const convolution *conv, block part, uint32_t lane, lutra_pixels8 pixels) {
  const lutra_coding *const coding = &conv->coding;
  const uint32_t d = coding->subvector, last = part.first + part.count;
  int16_t *tables = conv->tables + lane;
  pixels.x += part.first * d;
  for (uint32_t m = part.first; m < last; m += LUTRA_SUBVECTORS8) {
    const uint32_t channels = lutra_at_most(coding->channels, last * d) - m * d;
    lutra_build_tables8(coding->codebook, coding->codewords, d, &pixels, channels, tables, conv->lanes, conv->columns);
    pixels.x += LUTRA_SUBVECTORS8 * d;
    tables += LUTRA_SUBVECTORS8 * coding->codewords * conv->lanes;
  }
}

/* The lanes left and right of the image. What is written too much lies in lanes that are still to come. */
static void build_margins(const convolution *conv, block part, const int8_t *any) {
  const lutra_conv2d *const layer = conv->layer;
  const lutra_pixels8 padding = {any, 0u, 0u, layer->input_zero_point};
  const uint32_t begin = margin(layer, 0u), step = LUTRA_PIXELS8 * layer->stride_w;
  for (uint32_t lane = begin + LUTRA_PIXELS8 * ((conv->in_w + step - 1u) / step); lane < conv->lanes; lane += LUTRA_PIXELS8) {
    build(conv, part, lane, padding);
  }
  for (uint32_t lane = 0u; lane < begin; lane += LUTRA_PIXELS8) {
    build(conv, part, lane, padding);
  }
}

/* Adds what the tables contribute to the outputs that read their row. */
static void add_tables(const convolution *conv, block part, uint32_t phase, const uint16_t *kept, place row) {
  const lutra_conv2d *const layer = conv->layer;
  const lutra_coding *const coding = &conv->coding;
  const uint32_t taps = taps_of_phase(layer, phase), start = margin(layer, 0u) - margin(layer, phase);
  for (; row.ky >= 0 && row.i < conv->out_h; row.ky -= layer->stride_h, row.i++) {
    const uint16_t *offsets = kept + (uint32_t)row.ky * in_fours(taps * part.count) * coding->rows;
    const int16_t *tables = conv->tables + start;
    for (uint32_t m = 0u; m < part.count; m += LUTRA_GROUP) {
      const uint32_t size = lutra_at_most(part.count - m, LUTRA_GROUP), fours = in_fours(taps * size) >> 2;
      if (layer->keep_offsets == 0u) {
        expand(conv, part.first + m, size, phase, (uint32_t)row.ky, conv->offsets);
        offsets = conv->offsets;
      }
      for (uint32_t x = 0u, vectors; x < conv->out_w; x += LUTRA_PIXELS8 * vectors) {
        vectors = conv->out_w - x > LUTRA_PIXELS8 ? 2u : 1u;
        lutra_add_lookups8(offsets, fours, tables + x, vectors, row.sums + x, conv->pitch, coding->rows);
      }
      offsets += 4u * fours * coding->rows;
      tables += LUTRA_GROUP * coding->codewords * conv->lanes;
    }
    row.sums = next_row(conv, row.sums);
  }
}

/* Adds the pixels of an input row, of which `pixels` are there. */
static void add_row(const convolution *conv, const int8_t *input, uint32_t pixels, place row) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t stride = layer->stride_w, step = stride * layer->in_c;
  const uint16_t *offsets = conv->offsets;
  for (block part = next_block(conv, (block){0u, 0u}); part.count > 0u; part = next_block(conv, part)) {
    if (part.count < conv->coding.subvectors) {
      build_margins(conv, part, input);
    }
    for (uint32_t phase = 0u; phase < stride && phase < layer->kernel_w; phase++) {
      uint32_t x = phase + margin(layer, phase) * stride - layer->pad_left, lane = margin(layer, 0u);
      for (uint32_t first = 0u; first < conv->in_w; first += LUTRA_PIXELS8 * stride) {
        lutra_pixels8 group = {input + x * layer->in_c, step, 0u, layer->input_zero_point};
        for (; group.count < LUTRA_PIXELS8 && x < pixels; x += stride) {
          group.count++;
        }
        build(conv, part, lane, group);
        lane += LUTRA_PIXELS8;
      }
      add_tables(conv, part, phase, offsets, row);
      offsets += layer->kernel_h * in_fours(taps_of_phase(layer, phase) * part.count) * conv->coding.rows;
    }
  }
}

/* What a padded row adds at each kernel row. */
static void sum_padding(const convolution *conv) {
  const lutra_coding *const coding = &conv->coding;
  const lutra_conv2d *const layer = conv->layer;
  int8_t pixel[LUTRA_GROUP * LUTRA_MAX_SUBVECTOR];
  memset(conv->padding, 0, layer->kernel_h * coding->rows * sizeof *conv->padding);
  memset(pixel, layer->input_zero_point, sizeof pixel);
  for (uint32_t group = 0u; group < coding->subvectors; group += LUTRA_GROUP) {
    const uint32_t size = lutra_at_most(coding->subvectors - group, LUTRA_GROUP);
    const uint32_t missing = coding->subvector - lutra_subvector_length(coding, group + size - 1u);
    memset(pixel + size * coding->subvector - missing, 0, missing);
    lutra_build_tables(coding->codebook, coding->codewords, coding->subvector, pixel, size, conv->tables);
    for (uint32_t ky = 0u, tap = 0u; ky < layer->kernel_h; ky++) {
      for (uint32_t kx = 0u; kx < layer->kernel_w; kx++, tap++) {
        lutra_add_lookups(lutra_group_indices(coding, tap, group), coding->index_bits, coding->codewords, conv->tables, size,
                          conv->padding + ky * coding->rows, coding->rows);
      }
    }
  }
}

/* The share of padded rows in output row i, NULL if there are none. */
static const uint32_t *padded_share(const convolution *conv, uint32_t i) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t *padding = conv->padding, *share = NULL;
  uint32_t *const sum = conv->padding + layer->kernel_h * conv->coding.rows;
  if (layer->padded == 0u) {
    return NULL;
  }
  for (uint32_t ky = 0u; ky < layer->kernel_h; ky++) {
    if (i * layer->stride_h + ky - layer->pad_top >= conv->in_h) { /* wraps above the image */
      for (uint32_t n = 0u; n < conv->coding.rows; n++) {
        sum[n] = padding[n] + (share != NULL ? share[n] : 0u);
      }
      share = sum;
    }
    padding += conv->coding.rows;
  }
  return share;
}

/* Columns or rows in whole pooling windows. */
static uint32_t whole(uint32_t count, uint32_t pool) {
  return count / pool * pool;
}

/* Divides the scratch up and clears the sums. */
static void place_tables(convolution *conv, uint32_t in_w, uint32_t out_w, uint32_t *scratch) {
  const lutra_conv2d *const layer = conv->layer;
  const uint32_t rows = conv->coding.rows;
  conv->lanes = LUTRA_CONV2D_LUT8_LANES(layer->kernel_w, layer->stride_w, layer->pad_left, in_w, out_w);
  conv->pitch = LUTRA_CONV2D_LUT8_PITCH(out_w);
  conv->ring = scratch;
  const uint32_t ring_rows = LUTRA_CONV2D_RING_ROWS(layer->kernel_h, (uint32_t)layer->stride_h, layer->out_h);
  conv->ring_end = scratch + conv->pitch * rows * ring_rows;
  lutra_clear8(scratch, (uint32_t)(conv->ring_end - conv->ring));
  conv->padding = conv->ring_end;
  conv->columns = conv->padding + (layer->padded ? (layer->kernel_h + 1u) * rows : 0u);
  conv->offsets = (uint16_t *)conv->columns + LUTRA_PIXELS8 * LUTRA_SUBVECTORS8 * conv->coding.subvector;
  const uint32_t offsets = LUTRA_CONV2D_LUT8_OFFSETS(layer->kernel_h, layer->kernel_w, layer->stride_w, rows,
                                                     conv->coding.subvectors, layer->block, layer->keep_offsets);
  conv->tables = (int16_t *)(conv->offsets + offsets);
}

void lutra_conv2d_lut8(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                       const int8_t *input, int8_t *output, void *scratch) {
  convolution conv = {.layer = layer, .in_h = layer->in_h, .in_w = layer->in_w};
  lutra_begin_coding(&conv.coding, &layer->log2_codewords, codebook, indices, layer->in_c, layer->out_c);
  conv.out_h = whole(layer->out_h, layer->pool_h);
  conv.out_w = whole(layer->out_w, layer->pool_w);
  const uint32_t flat = LUTRA_CONV2D_LUT8_FLAT(layer->kernel_h, layer->kernel_w, layer->stride_h, layer->stride_w, layer->pool_h,
                                               layer->pool_w, layer->in_h, layer->in_w, layer->out_h, layer->out_w);
  uint32_t pixels = conv.in_h * conv.in_w; /* of a flat image that are left */
  if (flat) {
    conv.in_w = conv.out_w = LUTRA_CONV2D_LUT8_FLAT_WIDTH;
    conv.in_h = conv.out_h = (pixels + conv.in_w - 1u) / conv.in_w;
    place_tables(&conv, conv.in_w, conv.out_w, scratch);
  } else {
    place_tables(&conv, layer->in_w, layer->out_w, scratch);
  }
  if (layer->padded != 0u) {
    sum_padding(&conv);
  }
  if (layer->keep_offsets != 0u) {
    expand_all(&conv);
  }
  if (layer->block >= conv.coding.subvectors) {
    build_margins(&conv, next_block(&conv, (block){0u, 0u}), input);
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
    lutra_requantize8(LUTRA_REQUANTIZATION(layer), channels, padded_share(&conv, at.i), conv.coding.rows, at.sums, conv.pitch, columns,
                      layer->pool_w, pool_y, output);
    at.sums = next_row(&conv, at.sums);
    if (++pool_y == layer->pool_h) {
      pool_y = 0u;
      output += columns * conv.coding.rows;
    }
    pixels -= flat ? in_w : 0u;
  }
}
