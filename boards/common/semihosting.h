/* SPDX-License-Identifier: Apache-2.0 */
/* Files through the debugger or emulator (Arm semihosting 2.0): no libc, no buffers. */
#ifndef LUTRA_SEMIHOSTING_H
#define LUTRA_SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

#define EXIT_FILE 90 /* a file could not be opened or written */

enum semihosting_mode { SEMIHOSTING_READ = 1, SEMIHOSTING_WRITE = 5 }; /* "rb", "wb" */

/* A handle; does not return if the file cannot be opened. */
int32_t semihosting_open(const char *name, enum semihosting_mode mode);

/* 1 if `bytes` bytes were read, 0 at the end of the file. */
int semihosting_read(int32_t file, void *data, size_t bytes);

/* Does not return if not everything could be written. */
void semihosting_write(int32_t file, const void *data, size_t bytes);

#endif
