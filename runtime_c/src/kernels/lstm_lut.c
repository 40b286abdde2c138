/* SPDX-License-Identifier: Apache-2.0 */
#include "recurrent.h"

void lutra_lstm_lut(const lutra_recurrent *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                    const uint16_t *tangents, const uint16_t *initial, const int8_t *input, int8_t *output, void *scratch) {
  lutra_recurrence now;
  lutra_begin_recurrence(&now, layer, channels, tangents, initial, 2u, input, output, scratch);
  while (now.left > 0u) {
    lutra_linear_lut(&now.linear, codebook, indices, NULL, now.hidden, NULL, now.sums);
    lutra_lstm_step(&now);
  }
}
