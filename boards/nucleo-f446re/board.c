/* SPDX-License-Identifier: Apache-2.0 */
#include "board.h"
#include "stm32.h"
#include "uart.h"

#define RCC 0x40023800u
#define GPIOA 0x40020000u
#define USART2 0x40004400u

/* As it comes out of reset, the internal oscillator: flash needs no wait states, so cycles are those of the core. */
const uint32_t cpu_hz = 16000000u;

/* The FPU is off after reset. */
void board_init(void) {
  enable_coprocessors();
}

/* USART2 on PA2 (out) and PA3 (in), which ST-LINK brings to USB. */
void board_start(void) {
  REGISTER(RCC + 0x30u) |= 1u;       /* AHB1: GPIOA */
  REGISTER(RCC + 0x40u) |= 1u << 17; /* APB1: USART2 */
  stm32_pin(GPIOA, 2u, 7u);
  stm32_pin(GPIOA, 3u, 7u);
  stm32_usart_start_v1(USART2, cpu_hz);
}

uint8_t uart_read(void) {
  return stm32_usart_read_v1(USART2);
}

void uart_write(uint8_t byte) {
  stm32_usart_write_v1(USART2, byte);
}
