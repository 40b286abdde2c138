/* SPDX-License-Identifier: Apache-2.0 */
#include "board.h"
#include "uart.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define UART0 0x40002000u
#define P0_OUTSET 0x50000508u
#define P0_DIRSET 0x50000518u
#define P0_PIN_CONFIGURATION 0x50000700u
#define BAUD_115200 0x01D7E000u
#define TX_PIN 6u
#define RX_PIN 8u

/* As it comes out of reset. The flash is slower; its cache is turned on. */
const uint32_t cpu_hz = 64000000u;

/* The FPU is off after reset. */
void board_init(void) {
  enable_coprocessors();
}

/* The legacy port on P0.06 (out) and P0.08 (in), which the debugger brings to USB. */
void board_start(void) {
  REGISTER(0x4001E540u) = 1u; /* NVMC ICACHECNF */
  REGISTER(P0_OUTSET) = 1u << TX_PIN;
  REGISTER(P0_DIRSET) = 1u << TX_PIN;
  REGISTER(P0_PIN_CONFIGURATION + 4u * RX_PIN) = 0u; /* an input */
  REGISTER(UART0 + 0x50Cu) = TX_PIN;
  REGISTER(UART0 + 0x514u) = RX_PIN;
  REGISTER(UART0 + 0x524u) = BAUD_115200;
  REGISTER(UART0 + 0x500u) = 4u; /* enable */
  REGISTER(UART0 + 0x000u) = 1u; /* start receiving */
  REGISTER(UART0 + 0x008u) = 1u; /* and sending */
}

uint8_t uart_read(void) {
  while (!REGISTER(UART0 + 0x108u)) {
  }
  REGISTER(UART0 + 0x108u) = 0u;
  return (uint8_t)REGISTER(UART0 + 0x518u);
}

void uart_write(uint8_t byte) {
  REGISTER(UART0 + 0x11Cu) = 0u;
  REGISTER(UART0 + 0x51Cu) = byte;
  while (!REGISTER(UART0 + 0x11Cu)) {
  }
}
