/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "coding.h"
#include "requantization.h"

/* Tables of the group that starts at subvector `group`; zeros stand for channels that the last one lacks. */
static void build_group(const lutra_coding *coding, uint32_t group, uint32_t size, const int8_t *input, int16_t *tables) {
  const uint32_t d = coding->subvector, last = group + size - 1u, length = lutra_subvector_length(coding, last);
  input += group * d;
  if (length < d) {
    size--;
    int8_t tail[LUTRA_MAX_SUBVECTOR];
    for (uint32_t j = 0u; j < d; j++) {
      tail[j] = j < length ? input[size * d + j] : 0;
    }
    lutra_build_tables(coding->codebook, coding->codewords, d, tail, 1u, tables + size * coding->codewords);
  }
  if (size > 0u) {
    lutra_build_tables(coding->codebook, coding->codewords, d, input, size, tables);
  }
}

void lutra_linear_lut(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                      const int8_t *input, int8_t *output, void *scratch) {
  const lutra_coding coding = LUTRA_CODING(layer, codebook, indices);
  const lutra_requantization how = LUTRA_REQUANTIZATION(layer);
  uint32_t *const sums = scratch;
  int16_t *const tables = (int16_t *)(sums + coding.rows);
  memset(sums, 0, coding.rows * sizeof *sums);
  for (uint32_t group = 0u; group < coding.subvectors; group += LUTRA_GROUP) {
    const uint32_t size = lutra_at_most(coding.subvectors - group, LUTRA_GROUP);
    build_group(&coding, group, size, input, tables);
    lutra_add_lookups(lutra_group_indices(&coding, 0u, group), coding.index_bits, coding.codewords, tables, size, sums,
                      coding.rows);
  }
  lutra_requantize(&how, channels, sums, coding.rows, 1u, output, 0u);
}

void lutra_linear_pairs(const lutra_linear *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                        const int8_t *input, int8_t *output, void *scratch) {
  const lutra_coding coding = LUTRA_CODING(layer, codebook, indices);
  const lutra_requantization how = LUTRA_REQUANTIZATION(layer);
  uint32_t *const sums = scratch;
  int16_t *const tables = (int16_t *)(sums + coding.rows), *const pairs = tables + LUTRA_GROUP * 16u;
  memset(sums, 0, coding.rows * sizeof *sums);
  for (uint32_t group = 0u; group < coding.subvectors; group += LUTRA_GROUP) {
    const uint32_t size = lutra_at_most(coding.subvectors - group, LUTRA_GROUP);
    const uint8_t *const group_indices = lutra_group_indices(&coding, 0u, group);
    build_group(&coding, group, size, input, tables);
    if (size == LUTRA_GROUP) {
      lutra_build_pair_tables(tables, pairs);
      lutra_add_pair_lookups(group_indices, pairs, sums, coding.rows);
    } else {
      lutra_add_lookups(group_indices, 4u, 16u, tables, size, sums, coding.rows);
    }
  }
  lutra_requantize(&how, channels, sums, coding.rows, 1u, output, 0u);
}
