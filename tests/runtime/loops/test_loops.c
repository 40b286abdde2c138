/* SPDX-License-Identifier: Apache-2.0 */
/* Every loop of loops.h computes on this CPU what its reference computes. Where tables are corrupt, so that entries leave int16
 * or an index the codebook, a result is wrong and may be any; but even then nothing outside buffers is accessed. */
#include "cases.h"

static void build_tables(uint32_t number) {
  uint32_t codewords, d;
  pick_coding(number, &codewords, &d);
  const uint32_t count = pick_count("count", 2u * LUTRA_GROUP), size = count * codewords;
  if (!fits(codewords * d + count * d + 4u * size)) {
    return;
  }
  const int corrupt = number >= 3u * CODINGS;
  const int8_t *const codebook = corrupt ? corrupt_codebook(codewords, d) : codebook_of(codewords, d, 255u);
  const int8_t *const x = values("x", count * d);
  int16_t *const tables = buffer(size * sizeof *tables), *const expected = buffer(size * sizeof *expected);
  NATIVE(build_tables)(codebook, codewords, d, x, count, tables);
  lutra_build_tables_reference(codebook, codewords, d, x, count, expected);
  if (!corrupt) {
    compare_halfwords("tables", tables, expected, size);
  }
}

static int indices_are_legal(group shape, const uint8_t *row) {
  int legal = 1;
  for (uint32_t i = 0u; i < shape.count; i++) {
    legal &= (shape.index_bits == 8u ? row[i] : (uint32_t)row[i / 2u] >> 4u * (i % 2u) & 15u) < shape.codewords;
  }
  return legal;
}

static void add_lookups(uint32_t number) {
  const group shape = pick_group(number);
  const uint32_t rows = shape.rows, last = 1u << shape.index_bits, size = (shape.count - 1u) * shape.codewords + last;
  if (!fits(rows * shape.row_bytes + 2u * size + 8u * rows)) {
    return;
  }
  const uint8_t *const indices = indices_of(shape, number);
  int16_t *const tables = buffer(size * sizeof *tables);
  const int extreme = between(0, 2) == 0;
  for (uint32_t i = 0u; i < size && extreme; i++) {
    tables[i] = tables[i] < 0 ? INT16_MIN : INT16_MAX;
  }
  describe_alignment("tables", tables);
  uint32_t *const sums = sums_of(rows), *const expected = copy_of(sums, rows * 4u);
  NATIVE(add_lookups)(indices, shape.index_bits, shape.codewords, tables, shape.count, sums, rows);
  lutra_add_lookups_reference(indices, shape.index_bits, shape.codewords, tables, shape.count, expected, rows);
  for (uint32_t n = 0u; n < rows; n++) {
    if (!indices_are_legal(shape, indices + n * shape.row_bytes)) {
      expected[n] = sums[n]; /* a wrong number, and no access outside the tables */
    }
  }
  compare_words("sums", sums, expected, rows);
}

static void build_pair_tables(uint32_t number) {
  const uint32_t size = LUTRA_GROUP / 2u * 256u;
  if (!fits(LUTRA_GROUP * 16u * 2u + 4u * size)) {
    return;
  }
  int16_t *const tables = buffer(LUTRA_GROUP * 16u * sizeof *tables);
  for (uint32_t i = 0u; i < LUTRA_GROUP * 16u && number % 4u != 0u; i++) { /* else corrupt */
    tables[i] = (int16_t)(number % 4u == 1u ? tables[i] < 0 ? -16384 : 16383 : tables[i] >> 1);
  }
  int16_t *const pairs = buffer(size * sizeof *pairs), *const expected = buffer(size * sizeof *expected);
  NATIVE(build_pair_tables)(tables, pairs);
  lutra_build_pair_tables_reference(tables, expected);
  if (number % 4u != 0u) {
    compare_halfwords("pairs", pairs, expected, size);
  }
}

static void add_pair_lookups(uint32_t number) {
  const uint32_t rows = pick_count("rows", 60u), size = LUTRA_GROUP / 2u * 256u;
  if (!fits(2u * size + 12u * rows)) {
    return;
  }
  const uint8_t *const indices = (const uint8_t *)values("indices", 4u * rows);
  int16_t *const pairs = buffer(size * sizeof *pairs);
  for (uint32_t i = 0u; i < size && number % 3u == 0u; i++) {
    pairs[i] = pairs[i] < 0 ? INT16_MIN : INT16_MAX;
  }
  uint32_t *const sums = sums_of(rows), *const expected = copy_of(sums, rows * 4u);
  NATIVE(add_pair_lookups)(indices, pairs, sums, rows);
  lutra_add_pair_lookups_reference(indices, pairs, expected, rows);
  compare_words("sums", sums, expected, rows);
}

/* With `own`, lookup i of a row is in table i. */
static uint16_t *offsets_of(uint32_t codewords, uint32_t count, uint32_t rows, int own) {
  uint16_t *const start = buffer((count * rows + 1u) * sizeof *start), *const offsets = start + between(0, 1);
  for (uint32_t i = 0u; i < count * rows; i++) {
    const uint32_t table = own ? i % count : pick(0u, count - 1u);
    const uint32_t index = between(0, 5) == 0 ? codewords - 1u : pick(0u, codewords - 1u);
    offsets[i] = (uint16_t)(4u * (table * codewords + index));
  }
  describe("own tables", own);
  describe_alignment("offsets", offsets);
  return offsets;
}

/* Loops whose tables only they know; the sums are what counts. With `near`, all tables are within 8-bit offsets. */
static void pixel_lookups_either(uint32_t number, int near) {
  uint32_t codewords, d;
  pick_coding(number, &codewords, &d);
  if (near && codewords > 64u) {
    codewords = 16u;
  }
  const uint32_t count = pick_count("count", near ? 64u / codewords : codewords < 256u ? 80u : 64u), rows = pick_count("rows", 20u);
  const uint32_t size = count * codewords;
  if (!fits(codewords * d + 2u * count * d + 4u * size + 2u * count * rows + 16u * rows)) {
    return;
  }
  const uint32_t packed = number / CODINGS % 2u, corrupt = number >= 4u * CODINGS && !packed;
  describe("packed", (int32_t)packed);
  const int8_t *const codebook = corrupt ? corrupt_codebook(codewords, d) : codebook_of(codewords, d, packed ? 63u : 255u);
  const int8_t *const x = values("a", count * d), *const y = values("b", count * d);
  const uint16_t *const offsets = offsets_of(codewords, count, rows, between(0, 1));
  uint32_t *const tables = buffer(size * sizeof *tables);
  /* Row n of b is row n + apart of a, often; or they are apart, in either order. */
  const uint32_t apart = between(0, 1) ? rows : pick_count("apart", rows), sums = rows + apart;
  const uint32_t a = apart == rows && between(0, 1) ? rows : 0u, b = apart - a;
  uint32_t *const actual = sums_of(sums), *const expected = copy_of(actual, sums * 4u);
  NATIVE(build_pixel_tables)(codebook, codewords, d, x, y, count, tables);
  check_registers();
  const void *looked_up = offsets;
  if (near) {
    uint8_t *const bytes = (uint8_t *)random_bytes(count * rows);
    for (uint32_t i = 0u; i < count * rows; i++) {
      bytes[i] = (uint8_t)offsets[i];
    }
    looked_up = bytes;
  }
  const uint32_t form = (packed ? LUTRA_PACKED : 0u) + (near ? 0u : LUTRA_FAR);
  NATIVE(add_pixel_lookups)(looked_up, count, tables, form, actual + a, actual + b, rows);
  lutra_build_pixel_tables_reference(codebook, codewords, d, x, y, count, tables);
  lutra_add_pixel_lookups_reference(looked_up, count, tables, form, expected + a, expected + b, rows);
  if (!corrupt) {
    compare_words("sums", actual, expected, sums);
  }
}

static void pixel_lookups(uint32_t number) { pixel_lookups_either(number, 0); }

static void near_lookups(uint32_t number) { pixel_lookups_either(number, 1); }

/* Two loops that share a form of patches: what is in them before must not matter. */
static void patch_dot(uint32_t number) {
  static const uint8_t lengths[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 25, 27, 32, 36, 48, 50, 64, 72, 75, 100, 144, 200};
  uint32_t run = lengths[number / 3u % sizeof lengths], rows_of_taps = 1u;
  if (number % 3u == 0u) {
    describe("run", (int32_t)run);
  } else {
    run = pick_count("run", 40u);
    rows_of_taps = pick_count("rows of taps", 5u);
  }
  const uint32_t length = run * rows_of_taps, step = run + pick(0u, 9u) * pick(0u, 1u), all = (rows_of_taps - 1u) * step + run;
  const uint32_t pixels = pick_count("pixels", LUTRA_PATCH_PIXELS), rows = pick_count("rows", 14u);
  if (!fits(2u * LUTRA_PATCH_BYTES(length) + length * rows + 8u * pixels * rows + 8u * all)) {
    return;
  }
  describe("step", (int32_t)step);
  const int8_t *const weights = values("weights", length * rows);
  void *const patches = buffer(LUTRA_PATCH_BYTES(length)), *const expected_patches = buffer(LUTRA_PATCH_BYTES(length));
  const uint32_t backwards = pick(0u, 1u);
  describe("backwards", (int32_t)backwards);
  for (uint32_t p = 0u; p < pixels; p += 2u) {
    const uint32_t pair = backwards ? (pixels - 1u) / 2u - p / 2u : p / 2u;
    const int8_t *const a = values("a", all), *const b = values("b", all);
    NATIVE(patch_set)(patches, pair, a, b, step, run, rows_of_taps);
    check_registers();
    lutra_patch_set_reference(expected_patches, pair, a, b, step, run, rows_of_taps);
  }
  uint32_t *const sums = buffer(pixels * rows * 4u), *const expected = buffer(pixels * rows * 4u);
  NATIVE(patch_dot)(patches, pixels, weights, length, rows, sums);
  lutra_patch_dot_reference(expected_patches, pixels, weights, length, rows, expected);
  compare_words("sums", sums, expected, pixels * rows);
}

static void dot_rows(uint32_t number) {
  uint32_t length = number / 2u + 1u;
  if (number < 96u) {
    describe("length", (int32_t)length);
  } else {
    length = pick_count("length", 500u);
  }
  const uint32_t rows = pick_count("rows", 14u);
  if (!fits(length * (rows + 1u) + 8u * rows)) {
    return;
  }
  const int8_t *const weights = values("weights", length * rows), *const x = values("x", length);
  uint32_t *const sums = buffer(rows * 4u), *const expected = buffer(rows * 4u);
  NATIVE(dot_rows)(weights, x, length, rows, sums);
  lutra_dot_rows_reference(weights, x, length, rows, expected);
  compare_words("sums", sums, expected, rows);
}

/* Every other case: what a backend may have a loop for, aligned rows of whole codewords of common lengths. */
static void decode(uint32_t number) {
  static const uint8_t lengths[] = {1, 2, 4, 8, 16, 3, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15};
  const group shape = pick_group(number);
  const int whole = between(0, 1);
  const uint32_t d = lengths[pick(0u, whole ? 3u : sizeof lengths - 1u)];
  const uint32_t length = shape.count * d - (whole ? 0u : pick(0u, d - 1u));
  const uint32_t step = whole ? LUTRA_IN_FOURS(length) : length + pick(0u, 9u) * pick(0u, 1u);
  const uint32_t size = (shape.rows - 1u) * step + length, codebook_bytes = shape.codewords * d;
  describe("d", (int32_t)d);
  describe("length", (int32_t)length);
  describe("step", (int32_t)step);
  if (!fits(shape.rows * shape.row_bytes + 2u * codebook_bytes + 2u * size)) {
    return;
  }
  const int8_t *const any = values("codebook", codebook_bytes), *const codebook = whole ? copy_of(any, codebook_bytes) : any;
  int8_t *const weights = whole ? buffer(size) : output_of(size), *const expected = memcpy(random_bytes(size), weights, size);
  lutra_codes codes = {
      .indices = indices_of(shape, number), .row_bytes = shape.row_bytes, .index_bits = shape.index_bits, .codebook = codebook,
      .codewords = shape.codewords, .d = d, .length = length, .rows = shape.rows, .weights = weights, .step = step};
  NATIVE(decode)(&codes);
  codes.weights = expected;
  lutra_decode_reference(&codes);
  compare_bytes("weights", weights, expected, size);
}

/* Rows of `row` values; between them there may be others. */
static uint32_t pick_step(const char *name, uint32_t row) {
  const uint32_t step = row + pick(0u, 9u) * pick(0u, 1u);
  describe(name, (int32_t)step);
  return step;
}

/* Every other case: the windows that a backend may have lines for. */
static void depthwise(uint32_t number) {
  const uint32_t line = number % 2u, kind = number / 2u % 3u;
  const uint32_t channels = pick_count("channels", line ? 12u : 70u);
  const uint32_t height = line ? 3u : pick_count("height", 5u), width = line ? 3u : pick_count("width", 5u);
  const uint32_t pixels = pick_count("pixels", line ? 40u : 6u), row = pick_step("row", width * channels);
  const uint32_t across = pick(0u, 2u), input_step = across == 0u ? channels : across == 1u ? row : pick_step("input_step", 1u);
  const uint32_t output_step = pick_step("output_step", channels);
  const uint32_t inputs = (height - 1u) * row + width * channels + (pixels - 1u) * input_step;
  const uint32_t outputs = (pixels - 1u) * output_step + channels;
  describe("across", (int32_t)across);
  if (!fits(inputs + height * width * channels + 2u * outputs + 40u * channels)) {
    return;
  }
  const requantization by = pick_requantization(kind, channels);
  const lutra_windows windows = {
      .how = &by.how, .records = by.channels, .weights = values("weights", height * width * channels), .begin = sums_of(channels),
      .channels = channels, .height = height, .width = width, .row = row, .input_step = input_step, .output_step = output_step,
      .sums = buffer(4u * LUTRA_LINE_PIXELS * channels)};
  const int8_t *const input = values("input", inputs);
  int8_t *const output = output_of(outputs), *const expected = memcpy(random_bytes(outputs), output, outputs);
  NATIVE(depthwise)(&windows, input, pixels, output);
  lutra_depthwise_reference(&windows, input, pixels, expected);
  compare_bytes("output", output, expected, outputs);
}

static void requantize(uint32_t number) {
  const uint32_t kind = number % 3u, count = pick_count("count", 50u);
  const uint32_t pixels = pick_count("pixels", 5u), step = pick_step("step", count);
  const uint32_t outputs = (pixels - 1u) * step + count, in_place = pixels == 1u && between(0, 1);
  describe("in place", (int32_t)in_place);
  const requantization by = pick_requantization(kind, count);
  if (!fits(4u * pixels * count + 2u * outputs)) {
    return;
  }
  uint32_t *const sums = buffer(pixels * count * sizeof *sums);
  for (uint32_t n = 0u; n < pixels * count; n++) {
    sums[n] = pick_sum(kind);
  }
  int8_t *const output = in_place ? (int8_t *)sums : output_of(outputs);
  int8_t *const expected = memcpy(random_bytes(outputs), output, outputs);
  lutra_requantize_reference(&by.how, by.channels, sums, count, pixels, expected, step);
  NATIVE(requantize)(&by.how, by.channels, sums, count, pixels, output, step);
  compare_bytes("output", output, expected, outputs);
}

void test_loops(void) {
  RUN(4u * CODINGS, build_tables);
  RUN(384u, add_lookups);
  RUN(16u, build_pair_tables);
  RUN(64u, add_pair_lookups);
  RUN(6u * CODINGS, pixel_lookups);
  RUN(3u * CODINGS, near_lookups);
  RUN(384u, patch_dot);
  RUN(256u, dot_rows);
  RUN(960u, decode);
  RUN(256u, depthwise);
  RUN(640u, requantize);
}
