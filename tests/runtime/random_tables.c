/* SPDX-License-Identifier: Apache-2.0 */
#include "random_tables.h"

#include "harness.h"

static int checked, inner;

lutra_channel *random_channels(int out_c, int64_t bound, shifts *chosen) {
  int bits = 0; /* of the sum with its bias */
  while (bound * 2 >> bits) {
    bits++;
  }
  chosen->bias_shift = (uint8_t)(bits > 17 ? bits - 17 + between(0, 1) : between(0, 1));
  const int acc_shift = bits > 18 ? bits - 18 : between(0, 2);
  const int v_bits = bits > acc_shift ? bits - acc_shift : 0;
  chosen->acc_shift = (uint8_t)acc_shift;
  chosen->output_shift = (uint8_t)between(1, v_bits < 15 ? v_bits + 1 : 15);

  lutra_channel *const channels = buffer((size_t)out_c * sizeof *channels);
  for (int n = 0; n < out_c; n++) {
    const int64_t limit = bound >> chosen->bias_shift;
    const int bias = (int)(limit < 32767 ? limit : 32767);
    const int additional = v_bits + between(2, 4) - chosen->output_shift;
    channels[n].bias = (int16_t)(between(-bias, bias) / 8);
    channels[n].multiplier = (uint16_t)(between(1024, 4095) + 4096 * (additional < 0 ? 0 : additional > 15 ? 15 : additional));
  }
  return channels;
}

int8_t *random_codebook(int codewords, int subvector, int limit) {
  int8_t *const codebook = random_bytes((size_t)(codewords * subvector));
  for (int k = 0; k < codewords; k++) {
    int left = limit;
    for (int c = 0; c < subvector; c++) {
      const int most = left < 127 ? left : 127;
      const int value = between(-most, most) / (c + 1 < subvector && subvector > 2 ? 4 : 1);
      codebook[k * subvector + c] = (int8_t)value;
      left -= value < 0 ? -value : value;
    }
  }
  return codebook;
}

int8_t *extreme_codebook(int codewords, int subvector, int limit) {
  int8_t *const codebook = random_bytes((size_t)(codewords * subvector));
  for (int k = 0; k < codewords; k++) {
    const int signs = between(0, 2), first = between(0, subvector - 1);
    int left = limit;
    for (int c = 0; c < subvector; c++) {
      const int negative = signs == 2 ? between(0, 1) : signs;
      const int most = left < 127 + negative ? left : 127 + negative;
      codebook[k * subvector + (first + c) % subvector] = (int8_t)(negative ? -most : most);
      left -= most;
    }
  }
  return codebook;
}

int8_t *extreme_input(int count) {
  int8_t *const input = random_bytes((size_t)count);
  const int kind = between(0, 2);
  for (int i = 0; i < count; i++) {
    input[i] = (kind == 2 ? between(0, 1) : kind) ? 127 : -128;
  }
  return input;
}

uint8_t *random_indices(int count, int codewords) {
  uint8_t *const indices = buffer((size_t)count);
  for (int i = 0; i < count; i++) {
    indices[i] = (uint8_t)between(0, codewords - 1);
  }
  return indices;
}

void check_outputs(const int8_t *output, const int8_t *expected, int count, int minimum, int maximum) {
  for (int i = 0; i < count; i++) {
    CHECK(output[i] == expected[i]);
    inner += minimum < output[i] && output[i] < maximum;
  }
  checked += count;
}

void check_lively(void) {
  CHECK(checked > 0 && 2 * inner > checked);
  checked = inner = 0;
}
