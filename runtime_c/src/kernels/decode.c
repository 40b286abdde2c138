/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "coding.h"

void lutra_decode_rows(const lutra_coding *coding, uint32_t taps, uint32_t first, uint32_t count, int8_t *weights) {
  for (uint32_t n = first; n < first + count; n++) {
    for (uint32_t tap = 0u; tap < taps; tap++) {
      for (uint32_t group = 0u; group < coding->subvectors; group += LUTRA_GROUP) {
        const uint32_t size = lutra_at_most(coding->subvectors - group, LUTRA_GROUP);
        const uint8_t *const row = lutra_group_indices(coding, tap, group) + n * lutra_index_bytes(coding, size);
        for (uint32_t i = 0u; i < size; i++) {
          const uint32_t length = lutra_subvector_length(coding, group + i);
          memcpy(weights, coding->codebook + lutra_index(coding, row, i) * coding->subvector, length);
          weights += length;
        }
      }
    }
  }
}
