/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of MLPerf Tiny's runner, text that ends in '%' [mlcommons/tiny, benchmark/api]. The protocol has no check of what is lost. */
#ifndef LUTRA_MLPERF_TINY_H
#define LUTRA_MLPERF_TINY_H

#include <stdint.h>

/* Says that the device is ready, as the runner expects after a reset. */
void mlperf_tiny_start(void);

/* Takes a byte from the line. Returns 1 if it ended a command that is known, which has then been answered. */
int mlperf_tiny_take(uint8_t byte);

#endif
