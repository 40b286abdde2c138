/* SPDX-License-Identifier: Apache-2.0 */
#include "coding.h"
#include "dot.h"

void lutra_build_tables(const lutra_coding *coding, uint32_t group, const int8_t *x, uint32_t step, int16_t *tables) {
  const uint32_t d = coding->subvector;
  uint32_t left = coding->channels - group * d;
  x += group * d * step;
  for (uint32_t i = lutra_group_size(coding, group); i > 0u; i--) {
    const uint32_t length = left < d ? left : d;
    const int8_t *codeword = coding->codebook;
    for (uint32_t k = coding->codewords; k > 0u; k--) {
      *tables++ = (int16_t)lutra_dot(codeword, x, length);
      codeword += d;
    }
    x += length * step;
    left -= length;
  }
}

void lutra_accumulate(const lutra_coding *coding, uint32_t group, const uint8_t *indices, const int16_t *tables,
                      uint32_t *sums) {
  const uint32_t codewords = coding->codewords, mask = codewords - 1u, size = lutra_group_size(coding, group);
  const uint32_t row_bytes = lutra_index_bytes(coding, size);
  const uint32_t *const end = sums + coding->rows;
  indices += coding->rows * lutra_index_bytes(coding, group);
  if (size < 4u) {
    for (; sums < end; sums++) {
      const int16_t *table = tables;
      int32_t sum = 0;
      for (uint32_t i = 0u; i < size; i++) {
        sum += table[lutra_index(coding, indices, i)];
        table += codewords;
      }
      *sums += (uint32_t)sum;
      indices += row_bytes;
    }
    return;
  }
  const int16_t *const table1 = tables + codewords, *const table2 = table1 + codewords, *const table3 = table2 + codewords;
  if (coding->packed) {
    for (; sums < end; sums++) {
      *sums += (uint32_t)(tables[indices[0] & mask] + table1[(uint32_t)indices[0] >> 4 & mask] + table2[indices[1] & mask] +
                          table3[(uint32_t)indices[1] >> 4 & mask]);
      indices += 2;
    }
  } else {
    for (; sums < end; sums++) {
      *sums += (uint32_t)(tables[indices[0] & mask] + table1[indices[1] & mask] + table2[indices[2] & mask] +
                          table3[indices[3] & mask]);
      indices += 4;
    }
  }
}
