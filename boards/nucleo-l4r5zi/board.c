/* SPDX-License-Identifier: Apache-2.0 */
#include "board.h"
#include "stm32.h"
#include "uart.h"

#define RCC 0x40021000u
#define PWR 0x40007000u
#define GPIOG 0x48001800u
#define LPUART1 0x40008000u

/* The internal oscillator of 16 MHz: flash needs no wait states, so cycles are those of the core. */
const uint32_t cpu_hz = 16000000u;

/* The FPU is off after reset. */
void board_init(void) {
  enable_coprocessors();
}

/* LPUART1 on PG7 (out) and PG8 (in), which ST-LINK brings to USB. */
void board_start(void) {
  REGISTER(RCC) |= 1u << 8; /* CR: HSI16 on */
  while (!(REGISTER(RCC) & 1u << 10)) {
  }
  REGISTER(RCC + 0x08u) |= 1u; /* CFGR: it clocks all */
  while ((REGISTER(RCC + 0x08u) & 0xCu) != 0x4u) {
  }
  REGISTER(RCC + 0x58u) |= 1u << 28; /* APB1: PWR */
  REGISTER(PWR + 0x04u) |= 1u << 9;  /* CR2: pins 2 to 15 of port G have their own supply */
  REGISTER(RCC + 0x4Cu) |= 1u << 6;  /* AHB2: GPIOG */
  REGISTER(RCC + 0x5Cu) |= 1u;       /* APB1, 2: LPUART1 */
  stm32_pin(GPIOG, 7u, 8u);
  stm32_pin(GPIOG, 8u, 8u);
  stm32_usart_start_v2(LPUART1, (256u * cpu_hz + BAUD / 2u) / BAUD);
}

uint8_t uart_read(void) {
  return stm32_usart_read_v2(LPUART1);
}

void uart_write(uint8_t byte) {
  stm32_usart_write_v2(LPUART1, byte);
}
