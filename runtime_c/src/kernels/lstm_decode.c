/* SPDX-License-Identifier: Apache-2.0 */
#include "recurrent.h"

void lutra_lstm_decode(const lutra_recurrent *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                       const uint16_t *tangents, const uint16_t *initial, const int8_t *input, int8_t *output, void *scratch) {
  lutra_coding coding;
  lutra_begin_coding(&coding, &layer->log2_codewords, codebook, indices, layer->in_c, layer->out_c);
  lutra_recurrence now;
  lutra_begin_recurrence(&now, layer, channels, tangents, initial, 2u, input, output, scratch);
  while (now.left > 0u) {
    for (uint32_t n = 0u; n < coding.rows;) {
      n += lutra_decoded_sums(&coding, n, now.hidden, (int8_t *)(now.sums + coding.rows), now.sums + n);
    }
    lutra_lstm_step(&now);
  }
}
