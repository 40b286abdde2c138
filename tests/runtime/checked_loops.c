/* SPDX-License-Identifier: Apache-2.0 */
#include "checked_loops.h"

#include <string.h>

#include "harness.h"

static int aligned(const void *pointer) { return (uintptr_t)pointer % 4u == 0u; }

static int is_coding(uint32_t codewords, uint32_t d) {
  return 2u <= codewords && codewords <= 256u && (codewords & (codewords - 1u)) == 0u && 1u <= d && d <= LUTRA_MAX_SUBVECTOR;
}

void lutra_build_tables(const int8_t *codebook, uint32_t codewords, uint32_t d, const int8_t *x, uint32_t count,
                        int16_t *tables) {
  CHECK(is_coding(codewords, d) && count >= 1u && aligned(tables));
  lutra_build_tables_reference(codebook, codewords, d, x, count, tables);
}

void lutra_add_lookups(const uint8_t *indices, uint32_t index_bits, uint32_t codewords, const int16_t *tables, uint32_t count,
                       uint32_t *sums, uint32_t rows) {
  CHECK(index_bits == 8u || (index_bits == 4u && codewords <= 16u));
  CHECK(is_coding(codewords, 1u) && 1u <= count && count <= LUTRA_GROUP && rows >= 1u && aligned(tables));
  const int16_t *const last = tables + (count - 1u) * codewords;
  for (uint32_t i = 0u; i < 1u << index_bits; i++) {
    (void)*(volatile const int16_t *)(last + i); /* may be read */
  }
  lutra_add_lookups_reference(indices, index_bits, codewords, tables, count, sums, rows);
}

void lutra_build_pair_tables(const int16_t *tables, int16_t *pairs) {
  CHECK(aligned(tables) && aligned(pairs));
  lutra_build_pair_tables_reference(tables, pairs);
}

void lutra_add_pair_lookups(const uint8_t *indices, const int16_t *pairs, uint32_t *sums, uint32_t rows) {
  CHECK(aligned(pairs) && rows >= 1u);
  lutra_add_pair_lookups_reference(indices, pairs, sums, rows);
}

void lutra_build_pixel_tables(const int8_t *codebook, uint32_t codewords, uint32_t d, const int8_t *a, const int8_t *b,
                              uint32_t count, uint32_t *tables) {
  CHECK(is_coding(codewords, d) && count >= 1u);
  lutra_build_pixel_tables_reference(codebook, codewords, d, a, b, count, tables);
}

void lutra_add_pixel_lookups(const void *offsets, uint32_t count, const uint32_t *tables, uint32_t form, uint32_t *a, uint32_t *b,
                             uint32_t rows) {
  CHECK(count >= 1u && rows >= 1u && form <= (LUTRA_PACKED | LUTRA_FAR));
  CHECK(a < b || b + rows <= a);
  for (uint32_t i = 0u; i < rows * count; i++) {
    CHECK(((form & LUTRA_FAR) != 0u ? ((const uint16_t *)offsets)[i] : ((const uint8_t *)offsets)[i]) % 4u == 0u);
  }
  lutra_add_pixel_lookups_reference(offsets, count, tables, form, a, b, rows);
}

void lutra_patch_set(void *patches, uint32_t pair, const int8_t *a, const int8_t *b, uint32_t step, uint32_t run, uint32_t rows) {
  CHECK(aligned(patches) && pair < LUTRA_PATCH_PIXELS / 2u && run >= 1u && rows >= 1u);
  lutra_patch_set_reference(patches, pair, a, b, step, run, rows);
}

void lutra_patch_dot(const void *patches, uint32_t pixels, const int8_t *weights, uint32_t length, uint32_t rows,
                     uint32_t *sums) {
  CHECK(aligned(patches) && 1u <= pixels && pixels <= LUTRA_PATCH_PIXELS && length >= 1u && rows >= 1u);
  lutra_patch_dot_reference(patches, pixels, weights, length, rows, sums);
}

void lutra_dot_rows(const int8_t *weights, const int8_t *x, uint32_t length, uint32_t rows, uint32_t *sums) {
  CHECK(length >= 1u && rows >= 1u);
  lutra_dot_rows_reference(weights, x, length, rows, sums);
}

void lutra_decode(const lutra_codes *codes) {
  CHECK(codes->index_bits == 8u || (codes->index_bits == 4u && codes->codewords <= 16u));
  CHECK(is_coding(codes->codewords, codes->d) && codes->length >= 1u && codes->length <= LUTRA_GROUP * codes->d && codes->rows >= 1u);
  CHECK(codes->row_bytes == ((codes->length + codes->d - 1u) / codes->d * codes->index_bits + 7u) / 8u && codes->step >= codes->length);
  lutra_decode_reference(codes);
}

void lutra_depthwise(const lutra_windows *windows, const int8_t *input, uint32_t pixels, int8_t *output) {
  CHECK(windows->height >= 1u && windows->width >= 1u && windows->channels >= 1u && pixels >= 1u);
  lutra_depthwise_reference(windows, input, pixels, output);
}

void lutra_requantize(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums, uint32_t count,
                      uint32_t pixels, int8_t *output, uint32_t step) {
  CHECK(count >= 1u && pixels >= 1u && how->acc_shift <= 16u && 1u <= how->output_shift && how->output_shift <= 15u);
  CHECK((const void *)output != sums || pixels == 1u);
  lutra_requantize_reference(how, channels, sums, count, pixels, output, step);
}

void lutra_expand8(const uint8_t *indices, uint32_t index_bits, uint32_t codewords, uint32_t count, uint32_t rows,
                   uint32_t lanes, uint32_t shift, uint16_t *offsets, uint32_t step) {
  CHECK(index_bits == 8u || (index_bits == 4u && codewords <= 16u));
  CHECK(is_coding(codewords, 1u) && 1u <= count && count <= LUTRA_GROUP && rows >= 1u && step >= count);
  CHECK(shift + ((count + 3u) / 4u * 4u * codewords * lanes - lanes) * sizeof(int16_t) <= UINT16_MAX);
  lutra_expand8_reference(indices, index_bits, codewords, count, rows, lanes, shift, offsets, step);
}

void lutra_build_tables8(const int8_t *codebook, uint32_t codewords, uint32_t d, const lutra_pixels8 *pixels, uint32_t channels,
                         int16_t *tables, uint32_t lanes, void *scratch) {
  CHECK(is_coding(codewords, d) && pixels->count <= LUTRA_PIXELS8 && channels >= 1u && lanes >= LUTRA_PIXELS8 && aligned(scratch));
  memset(scratch, 0x55, 64u * d);
  lutra_build_tables8_reference(codebook, codewords, d, pixels, channels, tables, lanes, scratch);
}

void lutra_clear8(uint32_t *sums, uint32_t count) {
  CHECK(count >= 1u);
  lutra_clear8_reference(sums, count);
}

void lutra_add_lookups8(const uint16_t *offsets, uint32_t fours, const int16_t *tables, uint32_t vectors, uint32_t *sums,
                        uint32_t pitch, uint32_t rows) {
  CHECK(fours >= 1u && aligned(offsets) && 1u <= vectors && vectors <= 2u && rows >= 1u);
  (void)*(volatile const uint16_t *)(offsets + 4u * fours * rows + 3u); /* may be read */
  lutra_add_lookups8_reference(offsets, fours, tables, vectors, sums, pitch, rows);
}

void lutra_requantize8(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *share, uint32_t rows,
                       uint32_t *sums, uint32_t pitch, uint32_t pixels, uint32_t pool, uint32_t max, int8_t *output) {
  CHECK(rows >= 1u && pixels >= 1u && pool >= 1u && how->acc_shift <= 16u && 1u <= how->output_shift && how->output_shift <= 15u);
  CHECK(pixels * pool <= pitch);
  lutra_requantize8_reference(how, channels, share, rows, sums, pitch, pixels, pool, max, output);
  for (uint32_t n = 0u; n < rows; n++) {
    memset(sums + n * pitch + pixels * pool, 0x55, (pitch - pixels * pool) * sizeof *sums); /* anything */
  }
}
