/* SPDX-License-Identifier: Apache-2.0 */
/* Declarations for compilers that bring no libc. */
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);
