/* SPDX-License-Identifier: Apache-2.0 */
/* Every loop of loops8.h computes on this CPU what its reference computes. */
#include "loops8.h"

#include "cases.h"

static void expand8(uint32_t number) {
  const group shape = pick_group(number);
  const uint32_t size = shape.rows * LUTRA_LOOKUPS8(shape.count);
  if (!fits(shape.rows * shape.row_bytes + 4u * size)) {
    return;
  }
  const uint8_t *const indices = indices_of(shape, number);
  uint16_t *const offsets = buffer(size * sizeof *offsets), *const expected = buffer(size * sizeof *expected);
  NATIVE(expand8)(indices, shape.index_bits, shape.codewords, shape.count, shape.rows, offsets);
  lutra_expand8_reference(indices, shape.index_bits, shape.codewords, shape.count, shape.rows, expected);
  compare_halfwords("offsets", (const int16_t *)offsets, (const int16_t *)expected, size);
}

static void columns8(uint32_t number) {
  (void)number;
  const uint32_t channels = pick_count("channels", 70u), pixels = pick_count("pixels", LUTRA_PIXELS8);
  const uint32_t step = channels * pick(1u, 3u), size = channels * LUTRA_PIXELS8;
  describe("step", (int32_t)step);
  if (!fits(pixels * step + 4u * size)) {
    return;
  }
  const int8_t *const x = values("x", (pixels - 1u) * step + channels);
  int16_t *const columns = buffer(size * sizeof *columns), *const expected = buffer(size * sizeof *expected);
  NATIVE(columns8)(x, step, pixels, channels, columns);
  lutra_columns8_reference(x, step, pixels, channels, expected);
  compare_halfwords("columns", columns, expected, size);
}

static void build_tables8(uint32_t number) {
  uint32_t codewords, d;
  pick_coding(number, &codewords, &d);
  const uint32_t count = pick_count("count", LUTRA_GROUP), values_count = count * d * LUTRA_PIXELS8;
  const uint32_t size = count * codewords * LUTRA_PIXELS8;
  if (!fits(codewords * d + 3u * values_count + 4u * size)) {
    return;
  }
  const int corrupt = number >= 2u * CODINGS;
  const int8_t *const codebook = corrupt ? corrupt_codebook(codewords, d) : codebook_of(codewords, d, 255u);
  const int8_t *const x = values("x", values_count);
  int16_t *const columns = buffer(values_count * sizeof *columns);
  for (uint32_t i = 0u; i < values_count; i++) {
    columns[i] = x[i];
  }
  int16_t *const tables = buffer(size * sizeof *tables), *const expected = buffer(size * sizeof *expected);
  NATIVE(build_tables8)(codebook, codewords, d, columns, count, tables);
  lutra_build_tables8_reference(codebook, codewords, d, columns, count, expected);
  if (!corrupt) {
    compare_halfwords("tables", tables, expected, size);
  }
}

static void add_lookups8(uint32_t number) {
  const uint32_t count = 4u + 4u * (number % 2u), packed = number / 2u % 2u, entries = pick_count("entries", 260u);
  const uint32_t rows = pick_count("rows", 20u), pitch = LUTRA_PIXELS8 + pick(0u, 9u) * pick(0u, 1u);
  const uint32_t size = entries * LUTRA_PIXELS8, sums_count = (rows - 1u) * pitch + LUTRA_PIXELS8;
  describe("count", (int32_t)count);
  describe("packed", (int32_t)packed);
  describe("pitch", (int32_t)pitch);
  if (!fits(2u * rows * count + 2u * size + 8u * sums_count)) {
    return;
  }
  uint16_t *const offsets = buffer(rows * count * sizeof *offsets);
  for (uint32_t i = 0u; i < rows * count; i++) {
    offsets[i] = (uint16_t)(pick(0u, entries - 1u) * LUTRA_PIXELS8 * sizeof(int16_t));
  }
  int16_t *const tables = buffer(size * sizeof *tables);
  const int extreme = between(0, 2) == 0;
  for (uint32_t i = 0u; i < size; i++) {
    const int32_t value = extreme ? tables[i] < 0 ? INT16_MIN : INT16_MAX : tables[i];
    tables[i] = (int16_t)(packed ? value >> 2 : value);
  }
  describe_alignment("tables", tables);
  uint32_t *const sums = sums_of(sums_count), *const expected = copy_of(sums, sums_count * 4u);
  NATIVE(add_lookups8)(offsets, count, tables, packed, sums, pitch, rows);
  lutra_add_lookups8_reference(offsets, count, tables, packed, expected, pitch, rows);
  compare_words("sums", sums, expected, sums_count);
}

static void add_padding8(uint32_t number) {
  (void)number;
  const uint32_t rows = pick_count("rows", 20u), height = pick_count("height", 5u), width = pick_count("width", 5u);
  const uint32_t columns = pick_count("columns", 30u), pitch = columns + pick(0u, 9u) * pick(0u, 1u);
  const uint32_t step = (width + pick(0u, 2u)) * rows, size = (height - 1u) * step + width * rows;
  const uint32_t sums_count = (rows - 1u) * pitch + columns;
  describe("pitch", (int32_t)pitch);
  describe("step", (int32_t)step);
  if (!fits(4u * size + 8u * sums_count)) {
    return;
  }
  const uint32_t *const padding = sums_of(size);
  uint32_t *const sums = sums_of(sums_count), *const expected = copy_of(sums, sums_count * 4u);
  NATIVE(add_padding8)(padding, step, height, width, sums, pitch, rows, columns);
  lutra_add_padding8_reference(padding, step, height, width, expected, pitch, rows, columns);
  compare_words("sums", sums, expected, sums_count);
}

static void requantize8(uint32_t number) {
  const uint32_t kind = number % 2u, max = number / 2u % 2u, some = pick_count("channels", 20u);
  const uint32_t pixels = pick_count("pixels", 20u), rows = between(0, 1) ? some : (some + 3u) / 4u * 4u;
  const uint32_t pool = pick_count("pool", 4u), pitch = pixels * pool + pick(0u, 9u) * pick(0u, 1u);
  const uint32_t sums_count = (rows - 1u) * pitch + pixels * pool + 8u * pool - 1u, size = rows * pixels;
  describe("rows", (int32_t)rows);
  describe("max", (int32_t)max);
  describe("pitch", (int32_t)pitch);
  if (!fits(4u * rows + 8u * sums_count + 2u * size)) {
    return;
  }
  const requantization by = pick_requantization(kind, rows);
  uint32_t *const sums = buffer(sums_count * sizeof *sums);
  for (uint32_t n = 0u; n < sums_count; n++) {
    sums[n] = pick_sum(kind);
  }
  uint32_t *const expected_sums = copy_of(sums, sums_count * 4u);
  int8_t *const output = output_of(size), *const expected = memcpy(random_bytes(size), output, size);
  NATIVE(requantize8)(&by.how, by.channels, rows, sums, pitch, pixels, pool, max, output);
  lutra_requantize8_reference(&by.how, by.channels, rows, expected_sums, pitch, pixels, pool, max, expected);
  compare_bytes("output", output, expected, size);
  compare_words("sums", sums, expected_sums, sums_count);
}

void test_loops8(void) {
  RUN(192u, expand8);
  RUN(192u, columns8);
  RUN(3u * CODINGS, build_tables8);
  RUN(192u, add_lookups8);
  RUN(192u, add_padding8);
  RUN(384u, requantize8);
}
