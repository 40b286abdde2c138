/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the bundle `net` on samples from standard input and writes the outputs, once with inputs and outputs in memory of their own and once
 * at their places in the arena. ports.h gives SIZES_AND_OFFSETS of inputs and outputs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.c"

typedef struct {
  size_t bytes, offset;
} port;

#include "ports.h"

int main(void) {
  int8_t *const arena = aligned_alloc(LUTRA_ARENA_ALIGN, (NET_ARENA_BYTES + LUTRA_ARENA_ALIGN - 1) / LUTRA_ARENA_ALIGN * LUTRA_ARENA_ALIGN);
  int8_t *inputs[NET_INPUTS], *outputs[NET_OUTPUTS], *places[NET_OUTPUTS];
  const int8_t *sources[NET_INPUTS];
  for (size_t i = 0; i < NET_INPUTS; i++) {
    inputs[i] = malloc(input_ports[i].bytes);
  }
  for (size_t i = 0; i < NET_OUTPUTS; i++) {
    outputs[i] = malloc(output_ports[i].bytes);
    places[i] = arena + output_ports[i].offset;
  }
  while (fread(inputs[0], input_ports[0].bytes, 1, stdin) == 1) {
    for (size_t i = 1; i < NET_INPUTS; i++) {
      if (fread(inputs[i], input_ports[i].bytes, 1, stdin) != 1) return 1;
    }
    for (size_t i = 0; i < NET_INPUTS; i++) {
      sources[i] = inputs[i];
    }
    memset(arena, 0x55, NET_ARENA_BYTES);
    if (net_run(arena, NET_ARENA_BYTES, sources, outputs) != LUTRA_OK) return 2;
    memset(arena, 0xAA, NET_ARENA_BYTES);
    for (size_t i = 0; i < NET_INPUTS; i++) {
      sources[i] = memcpy(arena + input_ports[i].offset, inputs[i], input_ports[i].bytes);
    }
    if (net_run(arena, NET_ARENA_BYTES, sources, places) != LUTRA_OK) return 3;
    for (size_t i = 0; i < NET_OUTPUTS; i++) {
      fwrite(outputs[i], output_ports[i].bytes, 1, stdout);
      fwrite(places[i], output_ports[i].bytes, 1, stdout);
      free(outputs[i]);
      outputs[i] = malloc(output_ports[i].bytes);
    }
  }
  for (size_t i = 0; i < NET_INPUTS; i++) {
    free(inputs[i]);
  }
  for (size_t i = 0; i < NET_OUTPUTS; i++) {
    free(outputs[i]);
  }
  free(arena);
  return net_check() == LUTRA_OK ? 0 : 4;
}
