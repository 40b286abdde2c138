/* SPDX-License-Identifier: Apache-2.0 */
#include "convolve_patches.h"

/* Exact division by counting: '/' would link a routine on CPUs without the instruction. */
static uint32_t quotient(uint32_t dividend, uint32_t divisor) {
  uint32_t result = 0u;
  for (; dividend >= divisor; dividend -= divisor) {
    result++;
  }
  return result;
}

void lutra_conv2d_dense(const lutra_conv2d *layer, const int8_t *weights, const lutra_channel *channels, const int8_t *input,
                        int8_t *output, void *scratch) {
  const uint32_t in_group = quotient(layer->in_c, layer->groups), out_group = quotient(layer->out_c, layer->groups);
  lutra_filters filters = {layer, weights, channels, out_group, in_group, input, output, scratch};
  for (uint32_t group = layer->groups; group > 0u; group--) {
    lutra_convolve_patches(&filters);
    filters.weights += (uint32_t)layer->kernel_h * layer->kernel_w * in_group * out_group;
    filters.records += out_group;
    filters.input += in_group;
    filters.output += out_group;
  }
}
