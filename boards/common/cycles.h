/* SPDX-License-Identifier: Apache-2.0 */
/* Processor cycles since cycles_start. */
#ifndef LUTRA_CYCLES_H
#define LUTRA_CYCLES_H

#include <stdint.h>

void cycles_start(void);
uint64_t cycles_now(void);

/* The interrupt that carries into the upper bits; in the vector table. */
void cycles_carry(void);

#endif
