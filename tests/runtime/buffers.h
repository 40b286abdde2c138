/* SPDX-License-Identifier: Apache-2.0 */
/* Noise between guards. */
#ifndef LUTRA_TESTS_BUFFERS_H
#define LUTRA_TESTS_BUFFERS_H

#include <stddef.h>
#include <stdint.h>

/* Aligned to 4, seldom to more. AddressSanitizer traps accesses outside it; without that, writes are found at the end. */
void *buffer(size_t bytes);

/* Of any alignment. */
int8_t *random_bytes(size_t count);

/* Frees all buffers; 1 if nothing was written outside them. */
int free_buffers(void);

#endif
