/* SPDX-License-Identifier: Apache-2.0 */
#include "lutra/lutra_kernels.h"

#define FREQUENCY_BITS 12u
#define TOTAL (1u << FREQUENCY_BITS)
#define LOWEST_BITS 23u
#define BUCKET_BITS 6u /* a bucket is 2^6 slots; a search begins at the first symbol of one */

/* Where the slots of each symbol begin; returns code 0. Modulo 2^16: frequencies of a damaged table may add up to more than there is. */
static uint32_t find_starts(const uint8_t *codes, uint32_t bits, uint32_t codewords, uint16_t *starts) {
  uint32_t start = TOTAL, symbol = codewords, code;
  do {
    starts[symbol--] = (uint16_t)start;
    code = bits == 4u ? (uint32_t)codes[symbol >> 1] >> ((symbol & 1u) << 2) << 4 & 0xFFu : codes[symbol];
    start -= code * code * code >> 12;
  } while (symbol > 0u);
  return code >> (8u - bits);
}

/* The symbol of the first slot of each bucket. Ends for any starts, since the last one is TOTAL. */
static void find_first(const uint16_t *starts, uint8_t *first) {
  uint32_t symbol = 0u;
  for (uint32_t slot = 0u; slot < TOTAL; slot += 1u << BUCKET_BITS) {
    while (starts[symbol + 1u] <= slot) {
      symbol++;
    }
    *first++ = (uint8_t)symbol;
  }
}

void lutra_unpack_indices(const lutra_indices *layer, const uint8_t *coded, uint8_t *output, void *scratch) {
  const uint32_t bits = layer->index_bits, codewords = 1u << layer->log2_codewords;
  const uint8_t *next = coded + ((codewords * bits + 7u) >> 3);
  const uint8_t *const coded_end = coded + (layer->coded_bytes_low | (uint32_t)layer->coded_bytes_high << 16);
  const uint8_t *const output_end = output + (layer->bytes_low | (uint32_t)layer->bytes_high << 16);
  uint8_t *const first = scratch;
  uint16_t *const starts = (uint16_t *)(void *)(first + (TOTAL >> BUCKET_BITS));
  uint32_t flips = find_starts(coded, bits, codewords, starts); /* of the symbols of a byte */
  flips |= bits == 4u ? flips << 4 : 0u;
  const uint32_t most = starts[1]; /* frequency of symbol 0 */
  find_first(starts, first);
  uint32_t state = 0u;
  for (; output < output_end; output++) {
    uint32_t packed = flips;
    for (uint32_t shift = 0u; shift < 8u; shift += bits) {
      while (state >> LOWEST_BITS == 0u && next < coded_end) {
        state = state << 8 | *next++;
      }
      const uint32_t slot = state & (TOTAL - 1u);
      state >>= FREQUENCY_BITS;
      if (slot < most) {
        state = most * state + slot;
      } else {
        const uint16_t *start = starts + first[slot >> BUCKET_BITS];
        while (start[1] <= slot) {
          start++;
        }
        state = (uint32_t)(start[1] - start[0]) * state + slot - start[0];
        packed ^= (uint32_t)(start - starts) << shift;
      }
    }
    *output = (uint8_t)packed;
  }
}
