/* SPDX-License-Identifier: Apache-2.0 */
#include "board.h"
#include "uart.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define RESETS 0x4000C000u
#define CLOCKS 0x40008000u
#define XOSC 0x40024000u
#define IO_BANK0 0x40014000u
#define UART0 0x40034000u
#define CLEAR 0x3000u /* behind a register: bits to clear in it */
#define IO_AND_UART (1u << 5 | 1u << 8 | 1u << 22)
#define UART_FUNCTION 2u
#define BAUD 115200u

/* The crystal, without a PLL. */
const uint32_t cpu_hz = 12000000u;

/* A Cortex-M0+ runs compiled code as it leaves reset. */
void board_init(void) {
}

/* UART0 on GPIO 0 (out) and GPIO 1 (in). */
void board_start(void) {
  REGISTER(XOSC + 0x0Cu) = 47u; /* time to settle: 47 x 256 cycles, 1 ms */
  REGISTER(XOSC) = 0xFABu << 12 | 0xAA0u;
  while (!(REGISTER(XOSC + 0x04u) & 1u << 31)) {
  }
  REGISTER(CLOCKS + 0x30u) = 2u; /* the reference clock, and so the system's, is the crystal */
  while (!(REGISTER(CLOCKS + 0x38u) & 1u << 2)) {
  }
  REGISTER(CLOCKS + 0x48u) = 1u << 11; /* peripherals have the system's clock */
  REGISTER(RESETS + CLEAR) = IO_AND_UART;
  while ((REGISTER(RESETS + 0x08u) & IO_AND_UART) != IO_AND_UART) {
  }
  REGISTER(IO_BANK0 + 0x04u) = UART_FUNCTION;
  REGISTER(IO_BANK0 + 0x0Cu) = UART_FUNCTION;
  const uint32_t divider = (4u * cpu_hz + BAUD / 2u) / BAUD; /* 64ths of 16 cycles a bit */
  REGISTER(UART0 + 0x24u) = divider >> 6;
  REGISTER(UART0 + 0x28u) = divider & 63u;
  REGISTER(UART0 + 0x2Cu) = 3u << 5 | 1u << 4;         /* 8 bits, FIFOs */
  REGISTER(UART0 + 0x30u) = 1u << 9 | 1u << 8 | 1u; /* receiver, transmitter, port */
}

uint8_t uart_read(void) {
  while (REGISTER(UART0 + 0x18u) & 1u << 4) {
  }
  return (uint8_t)REGISTER(UART0);
}

void uart_write(uint8_t byte) {
  while (REGISTER(UART0 + 0x18u) & 1u << 5) {
  }
  REGISTER(UART0) = byte;
}
