/* SPDX-License-Identifier: Apache-2.0 */
/* What a firmware may set, by -D or by a copy of this file found first. */
#ifndef LUTRA_LUTRA_CONFIG_H
#define LUTRA_LUTRA_CONFIG_H

/* Called after each layer of NAME_run: `index` is the layer's number in NAME.json, `data` its output of `bytes` bytes.
 * For traces and profiles; costs nothing as it stands. */
#ifndef LUTRA_AFTER_LAYER
#define LUTRA_AFTER_LAYER(index, data, bytes) ((void)0)
#endif

/* Define LUTRA_WITH_FLOAT to get NAME_quantize_input_i and NAME_dequantize_output_i, which use float. */

#endif
