/* SPDX-License-Identifier: Apache-2.0 */
/* The serial port of a board, 115,200 baud, 8 bits, no parity; in BOARD/board.c. */
#ifndef LUTRA_UART_H
#define LUTRA_UART_H

#include <stdint.h>

/* Cycles a second of the processor after board_start. */
extern const uint32_t cpu_hz;

/* Clocks and the port. Runs after .data and .bss exist. */
void board_start(void);

/* Both wait until it can be done. */
uint8_t uart_read(void);
void uart_write(uint8_t byte);

#endif
