/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "harness.h"
#include "lutra/lutra_kernels.h"

enum { MAX_VALUES = 1200, MAX_CODEWORDS = 256 };

static lutra_indices random_layer(int log2_codewords, int index_bits, int bytes, int coded_bytes) {
  CHECK(coded_bytes < 65536 && bytes < 65536);
  return (lutra_indices){(uint16_t)bytes, 0, (uint16_t)coded_bytes, 0, (uint8_t)log2_codewords, (uint8_t)index_bits};
}

/* Writes value i of the packed array `values`, which is 0 there. */
static void put(uint8_t *values, int bits, int i, int value) {
  if (bits == 4) {
    values[i / 2] = (uint8_t)(values[i / 2] + value * (i % 2 ? 16 : 1));
  } else {
    values[i] = (uint8_t)value;
  }
}

static uint8_t *unpacked(const lutra_indices *layer, const uint8_t *coded) {
  uint8_t *const output = buffer(layer->bytes_low);
  lutra_unpack_indices(layer, coded, output, buffer(LUTRA_UNPACK_INDICES_SCRATCH_BYTES(1u << layer->log2_codewords)));
  return output;
}

/* Frequencies of the symbols and their codes, packed as they begin a table; returns how many bytes these are. */
static int random_frequencies(int codewords, int bits, int64_t *frequencies, uint8_t *codes) {
  int64_t rest = 4096;
  memset(codes, 0, MAX_CODEWORDS);
  put(codes, bits, 0, between(0, codewords - 1));
  for (int s = 1; s < codewords; s++) {
    const int64_t code = between(0, bits == 4 ? 15 : 255) >> between(0, 3), wide = bits == 4 ? 16 * code : code;
    const int64_t frequency = wide * wide * wide / 4096;
    frequencies[s] = frequency < rest && between(0, 3) > 0 ? frequency : 0;
    rest -= frequencies[s];
    put(codes, bits, s, frequencies[s] > 0 ? (int)code : 0);
  }
  frequencies[0] = rest;
  return (codewords * bits + 7) / 8;
}

/* The encoder of SPEC.md, section 4, with division; returns how many bytes the table takes. */
static int encode(const uint8_t *symbols, int count, int codewords, const int64_t *frequencies, uint8_t *table, int codes) {
  static uint8_t reversed[4 * MAX_VALUES];
  int64_t starts[MAX_CODEWORDS] = {0}, state = 0;
  int length = 0;
  for (int s = 1; s < codewords; s++) {
    starts[s] = starts[s - 1] + frequencies[s - 1];
  }
  for (int i = count - 1; i >= 0; i--) {
    const int64_t frequency = frequencies[symbols[i]];
    for (; state >= frequency * (1 << 19); state /= 256) {
      reversed[length++] = (uint8_t)(state % 256);
    }
    state = state / frequency * 4096 + starts[symbols[i]] + state % frequency;
  }
  for (; state > 0; state /= 256) {
    reversed[length++] = (uint8_t)(state % 256);
  }
  for (int i = 0; i < length; i++) {
    table[codes + i] = reversed[length - 1 - i];
  }
  return codes + length;
}

static void check_coding(int log2_codewords, int bits) {
  static uint8_t table[MAX_CODEWORDS + 4 * MAX_VALUES], symbols[MAX_VALUES];
  int64_t frequencies[MAX_CODEWORDS];
  const int codewords = 1 << log2_codewords, bytes = between(1, MAX_VALUES / 2), count = bytes * 8 / bits;
  const int codes = random_frequencies(codewords, bits, frequencies, table);
  const int common = bits == 4 ? table[0] % 16 : table[0];
  uint8_t *const expected = buffer((size_t)bytes);
  memset(expected, 0, (size_t)bytes);
  for (int i = 0; i < count; i++) {
    do {
      symbols[i] = (uint8_t)between(0, codewords - 1);
    } while (frequencies[symbols[i]] == 0);
    put(expected, bits, i, symbols[i] ^ common);
  }
  const int coded_bytes = encode(symbols, count, codewords, frequencies, table, codes);
  uint8_t *const coded = buffer((size_t)coded_bytes);
  memcpy(coded, table, (size_t)coded_bytes);
  const lutra_indices layer = random_layer(log2_codewords, bits, bytes, coded_bytes);
  CHECK(memcmp(unpacked(&layer, coded), expected, (size_t)bytes) == 0);
}

static void every_coding_follows_the_specification(void) {
  for (int bits = 4; bits <= 8; bits += 4) {
    for (int log2_codewords = 1; log2_codewords <= bits; log2_codewords++) {
      check_coding(log2_codewords, bits);
      check_and_free_buffers();
    }
  }
}

static void any_bytes_give_the_same_indices_again_and_touch_nothing_else(void) {
  const int bits = between(0, 1) ? 4 : 8, log2_codewords = between(1, bits), codes = ((1 << log2_codewords) * bits + 7) / 8;
  const int coded_bytes = codes + between(0, 40);
  const lutra_indices layer = random_layer(log2_codewords, bits, between(1, 200), coded_bytes);
  const uint8_t *const coded = buffer((size_t)coded_bytes);
  CHECK(memcmp(unpacked(&layer, coded), unpacked(&layer, coded), layer.bytes_low) == 0);
}

static void more_than_65535_bytes_are_counted(void) {
  const int bytes = 65536 + between(1, 500);
  const lutra_indices layer = {(uint16_t)(bytes - 65536), 1, 8, 0, 4, 4};
  uint8_t *const coded = buffer(8), *const output = buffer((size_t)bytes);
  memset(coded, 0, 8);
  coded[0] = 5;
  lutra_unpack_indices(&layer, coded, output, buffer(LUTRA_UNPACK_INDICES_SCRATCH_BYTES(16u)));
  for (int i = 0; i < bytes; i++) {
    CHECK(output[i] == 0x55);
  }
}

int main(void) {
  RUN(60, every_coding_follows_the_specification);
  RUN(2000, any_bytes_give_the_same_indices_again_and_touch_nothing_else);
  RUN(2, more_than_65535_bytes_are_counted);
  return 0;
}
