/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops8.h"

void lutra_requantize8_reference(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *share,
                                 uint32_t rows, uint32_t *sums, uint32_t pitch, uint32_t pixels, uint32_t pool, uint32_t max,
                                 int8_t *output) {
  for (uint32_t n = 0u; n < rows; n++) {
    uint32_t *sum = sums;
    for (uint32_t p = 0u; p < pixels; p++) {
      int32_t greatest = INT32_MIN;
      for (uint32_t x = 0u; x < pool; x++) {
        greatest = (int32_t)*sum > greatest ? (int32_t)*sum : greatest;
        *sum++ = 0u;
      }
      const uint32_t one = (uint32_t)greatest + (share != NULL ? share[n] : 0u);
      int8_t value;
      lutra_requantize_reference(how, channels, &one, 1u, 1u, &value, 0u);
      if (!max || value > output[p * rows]) {
        output[p * rows] = value;
      }
    }
    channels++;
    sums += pitch;
    output++;
  }
}
