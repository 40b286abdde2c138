/* SPDX-License-Identifier: Apache-2.0 */
/* What a firmware in boards/ is made of. */
#ifndef LUTRA_BOARD_H
#define LUTRA_BOARD_H

#include <stddef.h>
#include <stdint.h>

/* What the CPU needs before compiled code may run; in BOARD/board.c. Runs before .data and .bss exist. */
void board_init(void);

int main(void);

/* Deepest use of the stack since reset, in bytes. */
uint32_t stack_high_water_bytes(void);

#endif
