/* SPDX-License-Identifier: Apache-2.0 */
/* The hook of lutra_config.h that times layers. */
#ifndef LUTRA_TIMING_H
#define LUTRA_TIMING_H

#include <stdint.h>

void layer_done(uint32_t index);

#define LUTRA_AFTER_LAYER(index, data, bytes) layer_done(index)

#endif
