/* SPDX-License-Identifier: Apache-2.0 */
#include "coding.h"
#include "convolve_patches.h"

void lutra_conv2d_decode(const lutra_conv2d *layer, const int8_t *codebook, const uint8_t *indices, const lutra_channel *channels,
                         const int8_t *input, int8_t *output, void *scratch) {
  const uint32_t taps = (uint32_t)layer->kernel_h * layer->kernel_w;
  int8_t *const weights = (int8_t *)scratch + LUTRA_CONV2D_DENSE_SCRATCH_BYTES(taps * layer->in_c, (uint32_t)layer->block);
  lutra_filters filters = {layer, weights, channels, layer->block, layer->in_c, input, output, scratch};
  lutra_coding coding;
  lutra_begin_coding(&coding, &layer->log2_codewords, codebook, indices, layer->in_c, layer->out_c);
  for (uint32_t n = 0u; n < layer->out_c; n += filters.rows) {
    filters.rows = lutra_at_most(layer->out_c - n, layer->block);
    filters.records = channels + n;
    filters.output = output + n;
    lutra_decode_rows(&coding, taps, n, filters.rows, weights);
    lutra_convolve_patches(&filters);
  }
}
