/* SPDX-License-Identifier: Apache-2.0 */
#include "network.h"

#include "bundle.h"
#include "cycles.h"
#include "timing.h"

#define SIZE(name) +BUNDLE_MACRO(name##_SIZE)
#define PORT(name) {BUNDLE_MACRO(name##_SIZE), BUNDLE_MACRO(name##_SCALE), BUNDLE_MACRO(name##_ZERO_POINT)},
#define INPUT_BYTES (0u BUNDLE_INPUTS(SIZE))
#define OUTPUT_BYTES (0u BUNDLE_OUTPUTS(SIZE))
#define INPUTS BUNDLE_MACRO(INPUTS)
#define OUTPUTS BUNDLE_MACRO(OUTPUTS)

static uint32_t arena[(BUNDLE_MACRO(ARENA_BYTES) + 3u) / 4u];

int8_t network_input[INPUT_BYTES], network_output[OUTPUT_BYTES];
const size_t network_input_bytes = INPUT_BYTES, network_output_bytes = OUTPUT_BYTES;
const struct port network_inputs[] = {BUNDLE_INPUTS(PORT)}, network_outputs[] = {BUNDLE_OUTPUTS(PORT)};
const size_t network_input_ports = INPUTS, network_output_ports = OUTPUTS;

uint32_t network_layer_cycles[BUNDLE_MACRO(LAYERS)];
uint32_t network_cycles;
static uint32_t layer_start;

void layer_done(uint32_t index) {
  const uint32_t now = (uint32_t)cycles_now();
  network_layer_cycles[index] = now - layer_start;
  layer_start = now;
}

static void place(int8_t *bytes, const struct port *ports, size_t count, int8_t *places[]) {
  for (size_t i = 0; i < count; i++) {
    places[i] = bytes;
    bytes += ports[i].bytes;
  }
}

int network_run(void) {
  int8_t *inputs[INPUTS], *outputs[OUTPUTS];
  place(network_input, network_inputs, INPUTS, inputs);
  place(network_output, network_outputs, OUTPUTS, outputs);
  const uint32_t start = (uint32_t)cycles_now();
  layer_start = start;
  const int status = BUNDLE(run)(arena, sizeof arena, (const int8_t *const *)inputs, outputs);
  network_cycles = (uint32_t)cycles_now() - start;
  return status;
}
