/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a bundle on every sample of input.bin (int8, the inputs of a sample one after the other) and writes what comes out to
 * output.bin, in the same form, and a report to report.bin. */
#include "board.h"
#include "bundle.h"
#include "markers.h"
#include "semihosting.h"

struct port {
  uint32_t offset; /* in the arena */
  uint32_t size;
};

#define PORT(name) {BUNDLE_MACRO(name##_OFFSET), BUNDLE_MACRO(name##_SIZE)},
static const struct port input_ports[] = {BUNDLE_INPUTS(PORT)};
static const struct port output_ports[] = {BUNDLE_OUTPUTS(PORT)};

#define INPUTS (sizeof input_ports / sizeof *input_ports)
#define OUTPUTS (sizeof output_ports / sizeof *output_ports)

static uint32_t arena[(BUNDLE_MACRO(ARENA_BYTES) + 3u) / 4u];

static int read_sample(int32_t file, int8_t *const inputs[]) {
  for (size_t i = 0; i < INPUTS; i++) {
    if (!semihosting_read(file, inputs[i], input_ports[i].size)) {
      return 0;
    }
  }
  return 1;
}

int main(void) {
  struct {
    int32_t self_test, status;
    uint32_t stack_bytes;
  } report = {BUNDLE(check)(), LUTRA_OK, 0};
  int8_t *inputs[INPUTS];
  int8_t *outputs[OUTPUTS];
  for (size_t i = 0; i < INPUTS; i++) {
    inputs[i] = (int8_t *)arena + input_ports[i].offset;
  }
  for (size_t i = 0; i < OUTPUTS; i++) {
    outputs[i] = (int8_t *)arena + output_ports[i].offset;
  }
  const int32_t input_file = semihosting_open("input.bin", SEMIHOSTING_READ);
  const int32_t output_file = semihosting_open("output.bin", SEMIHOSTING_WRITE);
  while (report.status == LUTRA_OK && read_sample(input_file, inputs)) {
    MARKER(MARKER_BEGIN);
    report.status = BUNDLE(run)(arena, sizeof arena, (const int8_t *const *)inputs, outputs);
    MARKER(MARKER_END);
    for (size_t i = 0; i < OUTPUTS; i++) {
      semihosting_write(output_file, outputs[i], output_ports[i].size);
    }
  }
  report.stack_bytes = stack_high_water_bytes();
  semihosting_write(semihosting_open("report.bin", SEMIHOSTING_WRITE), &report, sizeof report);
  return 0;
}
