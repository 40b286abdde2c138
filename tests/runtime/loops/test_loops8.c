/* SPDX-License-Identifier: Apache-2.0 */
/* Every loop of loops8.h computes on this CPU what its reference computes. */
#include "loops8.h"

#include "cases.h"

static void expand8(uint32_t number) {
  const group shape = pick_group(number);
  const uint32_t lanes = pick_count("lanes", 30u), shift = 2u * pick(0u, 5u), step = shape.count + pick(0u, 9u);
  const uint32_t size = (shape.rows - 1u) * step + shape.count;
  describe("step", (int32_t)step);
  describe("shift", (int32_t)shift);
  if (!fits(shape.rows * shape.row_bytes + 4u * size)) {
    return;
  }
  const uint8_t *const indices = indices_of(shape, number);
  uint16_t *const offsets = buffer(size * sizeof *offsets), *const expected = copy_of(offsets, size * sizeof *offsets);
  NATIVE(expand8)(indices, shape.index_bits, shape.codewords, shape.count, shape.rows, lanes, shift, offsets, step);
  lutra_expand8_reference(indices, shape.index_bits, shape.codewords, shape.count, shape.rows, lanes, shift, expected, step);
  compare_halfwords("offsets", (const int16_t *)offsets, (const int16_t *)expected, size);
}

static void build_tables8(uint32_t number) {
  uint32_t codewords, d;
  pick_coding(number, &codewords, &d);
  const uint32_t all = LUTRA_SUBVECTORS8 * d, channels = between(0, 1) ? all : pick(1u, all);
  const uint32_t lanes = LUTRA_PIXELS8 + pick(0u, 9u), size = (LUTRA_SUBVECTORS8 * codewords - 1u) * lanes + LUTRA_PIXELS8;
  lutra_pixels8 pixels = {NULL, channels + pick(0u, 3u), between(0, 1) ? LUTRA_PIXELS8 : pick(0u, LUTRA_PIXELS8), (int8_t)between(-128, 127)};
  describe("channels", (int32_t)channels);
  describe("lanes", (int32_t)lanes);
  describe("pixels", (int32_t)pixels.count);
  describe("step", (int32_t)pixels.step);
  if (!fits(codewords * d + LUTRA_PIXELS8 * pixels.step + 64u * d + 4u * size)) {
    return;
  }
  const int corrupt = number >= 2u * CODINGS;
  const int8_t *const codebook = corrupt ? corrupt_codebook(codewords, d) : codebook_of(codewords, d, 255u);
  pixels.x = values("x", pixels.count > 0u ? (pixels.count - 1u) * pixels.step + channels : 1u);
  int16_t *const tables = buffer(size * sizeof *tables), *const expected = copy_of(tables, size * sizeof *tables);
  void *const scratch = buffer(64u * d);
  NATIVE(build_tables8)(codebook, codewords, d, &pixels, channels, tables, lanes, scratch);
  lutra_build_tables8_reference(codebook, codewords, d, &pixels, channels, expected, lanes, scratch);
  if (!corrupt) {
    compare_halfwords("tables", tables, expected, size);
  }
}

static void clear8(uint32_t number) {
  (void)number;
  const uint32_t count = pick_count("count", 300u);
  if (!fits(4u * count)) {
    return;
  }
  uint32_t *const sums = sums_of(count);
  NATIVE(clear8)(sums, count);
  for (uint32_t n = 0u; n < count; n++) {
    const uint32_t zero = 0u;
    compare_words("sum", sums + n, &zero, 1u);
  }
}

static void add_lookups8(uint32_t number) {
  const uint32_t vectors = 1u + number % 2u, fours = pick_count("fours", 12u), entries = pick_count("entries", 260u);
  const uint32_t rows = pick_count("rows", 20u), width = LUTRA_PIXELS8 * vectors, pitch = width + pick(0u, 9u) * pick(0u, 1u);
  const uint32_t size = entries + width + 7u, sums_count = (rows - 1u) * pitch + width, lookups = 4u * fours * rows;
  describe("vectors", (int32_t)vectors);
  describe("pitch", (int32_t)pitch);
  if (!fits(2u * lookups + 8u + 2u * size + 8u * sums_count)) {
    return;
  }
  uint16_t *const offsets = buffer((lookups + 4u) * sizeof *offsets);
  for (uint32_t i = 0u; i < lookups; i++) {
    offsets[i] = (uint16_t)(pick(0u, entries - 1u) * sizeof(int16_t));
  }
  int16_t *const tables = buffer(size * sizeof *tables);
  const int extreme = between(0, 2) == 0;
  for (uint32_t i = 0u; i < size && extreme; i++) {
    tables[i] = tables[i] < 0 ? INT16_MIN : INT16_MAX;
  }
  describe_alignment("tables", tables);
  uint32_t *const sums = sums_of(sums_count), *const expected = copy_of(sums, sums_count * 4u);
  NATIVE(add_lookups8)(offsets, fours, tables, vectors, sums, pitch, rows);
  lutra_add_lookups8_reference(offsets, fours, tables, vectors, expected, pitch, rows);
  compare_words("sums", sums, expected, sums_count);
}

static void requantize8(uint32_t number) {
  const uint32_t kind = number % 2u, max = number / 2u % 2u, some = pick_count("channels", 20u), pixels = pick_count("pixels", 20u);
  const uint32_t rows = between(0, 1) ? some : (some + 3u) / 4u * 4u;
  const uint32_t pool = pick_count("pool", 4u), used = pixels * pool;
  const uint32_t pitch = between(0, 1) ? (used + 7u) / 8u * 8u : used + pick(0u, 9u), sums_count = rows * pitch, size = rows * pixels;
  describe("rows", (int32_t)rows);
  describe("max", (int32_t)max);
  describe("pitch", (int32_t)pitch);
  if (!fits(8u * rows + 8u * sums_count + 2u * size)) {
    return;
  }
  const requantization by = pick_requantization(kind, rows);
  uint32_t *const sums = buffer(sums_count * sizeof *sums), *share = NULL;
  for (uint32_t n = 0u; n < sums_count; n++) {
    sums[n] = pick_sum(kind);
  }
  if (between(0, 1)) { /* halves, so that sums stay in range */
    describe("share", 1);
    share = buffer(rows * sizeof *share);
    for (uint32_t n = 0u; n < rows; n++) {
      share[n] = (uint32_t)((int32_t)pick_sum(kind) / 2);
    }
    for (uint32_t n = 0u; n < sums_count; n++) {
      sums[n] = (uint32_t)((int32_t)sums[n] / 2);
    }
  }
  uint32_t *const expected_sums = copy_of(sums, sums_count * 4u);
  int8_t *const output = output_of(size), *const expected = memcpy(random_bytes(size), output, size);
  NATIVE(requantize8)(&by.how, by.channels, share, rows, sums, pitch, pixels, pool, max, output);
  lutra_requantize8_reference(&by.how, by.channels, share, rows, expected_sums, pitch, pixels, pool, max, expected);
  compare_bytes("output", output, expected, size);
  for (uint32_t n = 0u; n < rows; n++) {
    compare_words("sums", sums + n * pitch, expected_sums + n * pitch, used);
  }
}

void test_loops8(void) {
  RUN(192u, expand8);
  RUN(24u, clear8);
  RUN(3u * CODINGS, build_tables8);
  RUN(192u, add_lookups8);
  RUN(384u, requantize8);
}
