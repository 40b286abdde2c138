/* SPDX-License-Identifier: Apache-2.0 */
#include "../bytes.h"
#include "requantization.h"

void lutra_store_pixel(const lutra_requantization *how, const lutra_channel *channels, uint32_t *sums, uint32_t count,
                       int8_t *output, uint32_t more) {
  int8_t *const values = more ? (int8_t *)sums : output;
  lutra_requantize(how, channels, sums, count, 1u, values, 0u);
  if (more) {
    lutra_keep_greatest(output, values, count);
  }
}
