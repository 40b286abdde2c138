/* SPDX-License-Identifier: Apache-2.0 */
#include "cases.h"

#ifndef MEMORY_BYTES
#define MEMORY_BYTES 65536u
#endif

void check_registers(void) {
  const char *const name = changed_register();
  if (name != NULL) {
    report("not restored: ");
    print(name);
  }
}

void end_case(void) {
  check_registers();
  if (!free_buffers()) {
    report("written outside a buffer");
  }
}

uint32_t pick(uint32_t low, uint32_t high) { return (uint32_t)between((int32_t)low, (int32_t)high); }

uint32_t pick_count(const char *name, uint32_t limit) {
  const uint32_t count = pick(1u, between(0, 1) || limit < 9u ? limit : 9u);
  describe(name, (int32_t)count);
  return count;
}

int fits(uint32_t bytes) {
  if (bytes + 384u <= MEMORY_BYTES) {
    return 1;
  }
  print("too large");
  return 0;
}

void describe_alignment(const char *name, const void *pointer) { describe(name, (int32_t)((uintptr_t)pointer & 15u)); }

int8_t *values(const char *name, uint32_t count) {
  int8_t *const x = random_bytes(count);
  const uint32_t kind = pick(0u, 7u);
  const int8_t same = (int8_t)(kind == 4u ? -128 : kind == 5u ? 127 : between(-128, 127));
  for (uint32_t i = 0u; i < count && kind >= 3u; i++) {
    x[i] = kind == 3u ? (between(0, 1) ? INT8_MAX : INT8_MIN) : same;
    x[i] = kind == 7u ? (int8_t)between(-3, 3) : x[i];
  }
  describe_alignment(name, x);
  return x;
}

uint32_t *sums_of(uint32_t count) {
  static const uint32_t extremes[] = {0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFFu, 0u};
  uint32_t *const sums = buffer(count * sizeof *sums);
  const int extreme = between(0, 3) == 0;
  for (uint32_t n = 0u; n < count && extreme; n++) {
    sums[n] = extremes[between(0, 3)];
  }
  describe_alignment("sums", sums);
  return sums;
}

int8_t *output_of(uint32_t count) {
  if (between(0, 1)) {
    return values("output", count);
  }
  int8_t *const output = buffer(count);
  describe_alignment("output", output);
  return output;
}

void *copy_of(const void *source, uint32_t bytes) { return memcpy(buffer(bytes), source, bytes); }

void pick_coding(uint32_t number, uint32_t *codewords, uint32_t *d) {
  static const uint8_t lengths[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 4, 8, 16, 4, 8, 16, 8, 8};
  *codewords = 2u << number % 8u;
  *d = lengths[number / 8u % sizeof lengths];
  describe("codewords", (int32_t)*codewords);
  describe("d", (int32_t)*d);
}

int8_t *codebook_of(uint32_t codewords, uint32_t d, uint32_t limit) {
  int8_t *const codebook = random_bytes(codewords * d);
  for (uint32_t k = 0u; k < codewords; k++) {
    const int largest = between(0, 1), sign = between(0, 2);
    int32_t left = (int32_t)limit;
    for (uint32_t c = 0u, j = pick(0u, d - 1u); c < d; c++, j = j + 1u < d ? j + 1u : 0u) {
      const int negative = sign == 2 ? between(0, 1) : sign;
      const int32_t most = left < 127 + negative ? left : 127 + negative;
      const int32_t magnitude = largest ? most : between(0, most);
      codebook[k * d + j] = (int8_t)(negative ? -magnitude : magnitude);
      left -= magnitude;
    }
  }
  describe("L1", (int32_t)limit);
  describe_alignment("codebook", codebook);
  return codebook;
}

int8_t *corrupt_codebook(uint32_t codewords, uint32_t d) { return values("corrupt codebook", codewords * d); }

group pick_group(uint32_t number) {
  const uint32_t coding = number % 12u;
  group shape = {.index_bits = coding < 4u ? 4u : 8u, .codewords = 2u << (coding < 4u ? coding : coding - 4u)};
  shape.count = number / 12u % LUTRA_GROUP + 1u;
  shape.row_bytes = shape.index_bits == 8u ? shape.count : (shape.count + 1u) / 2u;
  describe("index_bits", (int32_t)shape.index_bits);
  describe("codewords", (int32_t)shape.codewords);
  describe("count", (int32_t)shape.count);
  shape.rows = pick_count("rows", 40u);
  return shape;
}

uint8_t *indices_of(group shape, uint32_t number) {
  uint8_t *const indices = (uint8_t *)random_bytes(shape.rows * shape.row_bytes);
  const int any = number / 96u % 2u != 0u;
  describe_alignment("indices", indices);
  describe("any index", any);
  for (uint32_t i = 0u; i < shape.rows * shape.row_bytes && !any; i++) {
    const int half = shape.index_bits == 4u && shape.count % 2u != 0u && (i + 1u) % shape.row_bytes == 0u;
    indices[i] &= (uint8_t)((shape.codewords - 1u) * (shape.index_bits == 4u ? 17u : 1u) | (half ? 0xF0u : 0u));
  }
  return indices;
}

requantization pick_requantization(uint32_t kind, uint32_t channels) {
  requantization chosen = {.how = {.output_min = INT8_MIN, .output_max = INT8_MAX}};
  lutra_requantization *const how = &chosen.how;
  how->output_zero_point = (int8_t)between(-128, 127);
  if (between(0, 1)) {
    how->output_min = (int8_t)between(-128, 127);
    how->output_max = (int8_t)between(how->output_min, 127);
  }
  how->bias_shift = (uint8_t)(kind == 1u ? 0 : between(0, kind == 0u ? 4 : 16));
  how->acc_shift = (uint8_t)(kind == 1u ? 0 : between(kind == 0u ? 1 : 0, kind == 0u ? 6 : 16));
  how->output_shift = (uint8_t)(between(0, 1) ? between(1, 15) : between(8, 15));
  chosen.channels = buffer(channels * sizeof(lutra_channel)); /* aligned to 4 */
  for (uint32_t n = 0u; n < channels; n++) {
    lutra_channel *const channel = &chosen.channels[n];
    if (kind == 0u) {
      const int32_t most = how->acc_shift == 1 ? 20 - how->output_shift : 15; /* the product and rounding stay below 2^31 */
      channel->multiplier = (uint16_t)(between(1024, 4095) * between(0, 15) / 15 + 4096 * between(0, most < 15 ? most : 15));
    } else if (kind == 1u) {
      const int32_t additional = between(0, 3), shift = how->output_shift + additional;
      channel->bias = (int16_t)between(-3, 3);
      channel->multiplier = (uint16_t)((between(0, 9) << (shift < 4 ? 0 : shift < 12 ? shift - 4 : 8)) + 4096 * additional);
    } else if (between(0, 3) == 0) {
      channel->bias = between(0, 1) ? INT16_MIN : INT16_MAX;
      channel->multiplier = (uint16_t)(4095 * between(0, 1) + 4096 * 15 * between(0, 1));
    }
  }
  describe("bias_shift", how->bias_shift);
  describe("acc_shift", how->acc_shift);
  describe("output_shift", how->output_shift);
  describe("zero_point", how->output_zero_point);
  describe("min", how->output_min);
  describe("max", how->output_max);
  return chosen;
}

/* Kind 0: |sum + (bias << 4)| < 2^20 - 1, with acc_shift >= 1. */
uint32_t pick_sum(uint32_t kind) {
  static const uint32_t extremes[] = {0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFFu, 0u};
  if (kind < 2u) {
    const int32_t most = kind == 1u ? 300 : between(0, 1) ? (1 << 19) - 2 : 1 << between(8, 18);
    return (uint32_t)(between(0, 7) ? between(-most, most) : between(0, 1) ? most : -most);
  }
  return between(0, 3) ? next_random() : extremes[between(0, 3)];
}
