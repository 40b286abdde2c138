/* SPDX-License-Identifier: Apache-2.0 */
/* The bundle as the protocols of serve.c see it: bytes in, bytes out. */
#ifndef LUTRA_NETWORK_H
#define LUTRA_NETWORK_H

#include <stddef.h>
#include <stdint.h>

/* Values of int8 that stand for SCALE * (q - ZERO_POINT). */
struct port {
  size_t bytes;
  float scale;
  int zero_point;
};

extern const struct port network_inputs[], network_outputs[];
extern const size_t network_input_ports, network_output_ports;

/* All inputs, all outputs, one after the other; apart from the arena, so that a run can be repeated. */
extern int8_t network_input[], network_output[];
extern const size_t network_input_bytes, network_output_bytes;

extern uint32_t network_layer_cycles[];
extern uint32_t network_cycles; /* of the last run */

/* Runs the bundle: LUTRA_OK or one of its errors. */
int network_run(void);

#endif
