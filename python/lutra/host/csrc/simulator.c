/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one bundle over many samples. Set by lutra.host: SIMULATOR_SOURCE "NAME.c", SIMULATOR_RUN NAME_run, SIMULATOR_CHECK NAME_check,
 * SIMULATOR_ARENA_BYTES, and for each input and output, separated by commas, SIMULATOR_{INPUT,OUTPUT}_{SIZES,OFFSETS}. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Where the next layer's output goes while layers are recorded, and how many bytes are left there. */
static __thread int8_t *record;
static __thread size_t record_bytes;

static void after_layer(const int8_t *data, size_t bytes) {
  if (bytes <= record_bytes) {
    memcpy(record, data, bytes);
    record += bytes;
    record_bytes -= bytes;
  }
}

#define LUTRA_AFTER_LAYER(index, data, bytes) after_layer(data, bytes)
#include SIMULATOR_SOURCE

const size_t simulator_input_sizes[] = {SIMULATOR_INPUT_SIZES};
const size_t simulator_output_sizes[] = {SIMULATOR_OUTPUT_SIZES};

static const size_t input_offsets[] = {SIMULATOR_INPUT_OFFSETS};
static const size_t output_offsets[] = {SIMULATOR_OUTPUT_OFFSETS};
enum { INPUTS = sizeof(input_offsets) / sizeof(size_t), OUTPUTS = sizeof(output_offsets) / sizeof(size_t) };

/* `inputs[i]` and `outputs[i]` hold all samples one after the other; `layers` receives the outputs of all layers, sample after sample, as far
 * as they fit into `layers_bytes`. Inputs and outputs are moved through their places in the arena, as on a small device. */
int simulator_run(int8_t *arena, size_t samples, const int8_t *const *inputs, int8_t *const *outputs, int8_t *layers, size_t layers_bytes) {
  const int8_t *input[INPUTS];
  int8_t *output[OUTPUTS];
  record = layers;
  record_bytes = layers_bytes;
  for (size_t sample = 0; sample < samples; sample++) {
    for (size_t i = 0; i < INPUTS; i++) {
      const size_t size = simulator_input_sizes[i];
      input[i] = memcpy(arena + input_offsets[i], inputs[i] + sample * size, size);
    }
    for (size_t i = 0; i < OUTPUTS; i++) {
      output[i] = arena + output_offsets[i];
    }
    const int status = SIMULATOR_RUN(arena, SIMULATOR_ARENA_BYTES, input, output);
    if (status != LUTRA_OK) {
      return status;
    }
    for (size_t i = 0; i < OUTPUTS; i++) {
      const size_t size = simulator_output_sizes[i];
      memcpy(outputs[i] + sample * size, output[i], size);
    }
  }
  return LUTRA_OK;
}

size_t simulator_arena_bytes(void) { return SIMULATOR_ARENA_BYTES; }

int simulator_check(void) { return SIMULATOR_CHECK(); }
