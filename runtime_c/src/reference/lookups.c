/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifndef LUTRA_PORTABLE /* which is for those to whom size matters most */
/* A whole group of eight. */
static void add_group(const uint8_t *indices, uint32_t codewords, const int16_t *tables, uint32_t *sums, uint32_t rows) {
  const uint32_t mask = codewords - 1u;
  const int16_t *const table1 = tables + codewords, *const table2 = table1 + codewords, *const table3 = table2 + codewords;
  const int16_t *const table4 = table3 + codewords, *const table5 = table4 + codewords, *const table6 = table5 + codewords;
  const int16_t *const table7 = table6 + codewords;
  for (const uint32_t *const end = sums + rows; sums < end; sums++) {
    const int32_t low = tables[indices[0] & mask] + table1[indices[1] & mask] + table2[indices[2] & mask] +
                        table3[indices[3] & mask];
    const int32_t high = table4[indices[4] & mask] + table5[indices[5] & mask] + table6[indices[6] & mask] +
                         table7[indices[7] & mask];
    *sums += (uint32_t)(low + high);
    indices += LUTRA_GROUP;
  }
}
#endif

void lutra_add_lookups_reference(const uint8_t *indices, uint32_t index_bits, uint32_t codewords, const int16_t *tables,
                                 uint32_t count, uint32_t *sums, uint32_t rows) {
#ifndef LUTRA_PORTABLE
  if (count == LUTRA_GROUP && index_bits == 8u) {
    add_group(indices, codewords, tables, sums, rows);
    return;
  }
#endif
  const uint32_t mask = codewords - 1u;
  for (const uint32_t *const end = sums + rows; sums < end; sums++) {
    const int16_t *table = tables;
    int32_t sum = 0;
    for (uint32_t i = 0u; i < count; i++) {
      uint32_t index = *indices;
      if (index_bits == 8u || (i & 1u) != 0u) {
        index >>= 8u - index_bits; /* the odd one of two 4-bit indices */
        indices++;
      }
      sum += table[index & mask];
      table += codewords;
    }
    indices += index_bits == 4u ? count & 1u : 0u;
    *sums += (uint32_t)sum;
  }
}

void lutra_add_pair_lookups_reference(const uint8_t *indices, const int16_t *pairs, uint32_t *sums, uint32_t rows) {
  for (const uint32_t *const end = sums + rows; sums < end; sums++) {
    *sums += (uint32_t)(pairs[indices[0]] + pairs[256u + indices[1]] + pairs[512u + indices[2]] + pairs[768u + indices[3]]);
    indices += LUTRA_GROUP / 2u;
  }
}
