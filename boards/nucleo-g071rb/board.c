/* SPDX-License-Identifier: Apache-2.0 */
#include "board.h"
#include "stm32.h"
#include "uart.h"

#define RCC 0x40021000u
#define GPIOA 0x50000000u
#define USART2 0x40004400u

/* As it comes out of reset, the internal oscillator: flash needs no wait states, so cycles are those of the core. */
const uint32_t cpu_hz = 16000000u;

/* A Cortex-M0+ runs compiled code as it leaves reset. */
void board_init(void) {
}

/* USART2 on PA2 (out) and PA3 (in), which ST-LINK brings to USB. */
void board_start(void) {
  REGISTER(RCC + 0x34u) |= 1u;       /* IOPENR: GPIOA */
  REGISTER(RCC + 0x3Cu) |= 1u << 17; /* APBENR1: USART2 */
  stm32_pin(GPIOA, 2u, 1u);
  stm32_pin(GPIOA, 3u, 1u);
  stm32_usart_start_v2(USART2, (cpu_hz + BAUD / 2u) / BAUD);
}

uint8_t uart_read(void) {
  return stm32_usart_read_v2(USART2);
}

void uart_write(uint8_t byte) {
  stm32_usart_write_v2(USART2, byte);
}
