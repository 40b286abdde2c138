/* SPDX-License-Identifier: Apache-2.0 */
/* What kernels do with memory. Not memcpy and memset: those of a libc are made for speed and take more flash than many a kernel. */
#ifndef LUTRA_BYTES_H
#define LUTRA_BYTES_H

#include <stdint.h>

void lutra_copy_bytes(void *to, const void *from, uint32_t count);
void lutra_fill(void *to, int8_t value, uint32_t count);
/* `count` is at least 1, here and below. */
void lutra_clear(uint32_t *words, uint32_t count);
/* sums[i] += factor * weights[i]. */
void lutra_add_products(uint32_t *sums, const int8_t *weights, int32_t factor, uint32_t count);
/* output[i] = the greater of output[i] and values[i]. */
void lutra_keep_greatest(int8_t *output, const int8_t *values, uint32_t count);

#endif
