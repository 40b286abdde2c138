/* SPDX-License-Identifier: Apache-2.0 */
#include "../bytes.h"
#include "coding.h"
#include "requantization.h"

/* A layer, and the group of subvectors whose tables exist. */
typedef struct {
  lutra_coding coding;
  const int8_t *input; /* of the group */
  uint32_t *sums;
  int16_t *tables;
  const uint8_t *indices;
  uint32_t first; /* subvector of the next group */
} progress;

LUTRA_OUT_OF_LINE static void begin(progress *now, const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices,
                                    const int8_t *input, uint32_t *sums) {
  lutra_begin_coding(&now->coding, &layer->log2_codewords, codebook, indices, layer->in_c, layer->out_c);
  now->input = input;
  now->sums = sums;
  now->tables = (int16_t *)(sums + layer->out_c);
  now->first = 0u;
  lutra_clear(sums, layer->out_c);
}

/* Builds the tables of the next group; returns its size, 0 if there is none. Zeros stand for channels that the last subvector lacks. */
LUTRA_OUT_OF_LINE static uint32_t next_group(progress *now) {
  const lutra_coding *const coding = &now->coding;
  const uint32_t d = coding->subvector, first = now->first;
  const uint32_t size = lutra_at_most(coding->subvectors - first, LUTRA_GROUP);
  uint32_t count = size;
  if (size == 0u) {
    return 0u;
  }
  now->first += size;
  now->indices = lutra_group_indices(coding, 0u, first);
  const int8_t *const last = now->input + (count - 1u) * d;
  const uint32_t length = lutra_subvector_length(coding, first + count - 1u);
  if (length < d) {
    uint32_t tail[LUTRA_MAX_SUBVECTOR / sizeof(uint32_t)];
    lutra_clear(tail, sizeof tail / sizeof *tail);
    lutra_copy_bytes(tail, last, length);
    count--;
    lutra_build_tables(coding->codebook, coding->codewords, d, (const int8_t *)tail, 1u, now->tables + count * coding->codewords);
  }
  if (count > 0u) {
    lutra_build_tables(coding->codebook, coding->codewords, d, now->input, count, now->tables);
  }
  now->input = last + d;
  return size;
}

static void add(const progress *now, uint32_t size) {
  lutra_add_lookups(now->indices, now->coding.index_bits, now->coding.codewords, now->tables, size, now->sums,
                    now->coding.rows);
}

void lutra_linear_lut(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                      const int8_t *input, int8_t *output, void *scratch) {
  progress now;
  begin(&now, layer, codebook, indices, input, scratch);
  for (uint32_t size; (size = next_group(&now)) > 0u;) {
    add(&now, size);
  }
  if (channels != NULL) {
    lutra_requantize(LUTRA_REQUANTIZATION(layer), channels, scratch, layer->out_c, 1u, output, 0u);
  }
}

void lutra_linear_pairs(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                        const int8_t *input, int8_t *output, void *scratch) {
  progress now;
  begin(&now, layer, codebook, indices, input, scratch);
  for (uint32_t size; (size = next_group(&now)) > 0u;) {
    if (size == LUTRA_GROUP) {
      int16_t *const pairs = now.tables + LUTRA_GROUP * 16u;
      lutra_build_pair_tables(now.tables, pairs);
      lutra_add_pair_lookups(now.indices, pairs, now.sums, layer->out_c);
    } else {
      add(&now, size);
    }
  }
  if (channels != NULL) {
    lutra_requantize(LUTRA_REQUANTIZATION(layer), channels, scratch, layer->out_c, 1u, output, 0u);
  }
}
