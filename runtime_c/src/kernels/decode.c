/* SPDX-License-Identifier: Apache-2.0 */
#include "../bytes.h"
#include "coding.h"

void lutra_decode_rows(const lutra_coding *coding, uint32_t taps, uint32_t first, uint32_t count, int8_t *weights) {
  for (uint32_t n = first; n < first + count; n++) {
    for (uint32_t tap = 0u; tap < taps; tap++) {
      for (uint32_t m = 0u; m < coding->subvectors; m++) {
        const uint32_t length = lutra_subvector_length(coding, m);
        lutra_copy_bytes(weights, lutra_codeword(coding, tap, n, m), length);
        weights += length;
      }
    }
  }
}
