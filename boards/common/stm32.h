/* SPDX-License-Identifier: Apache-2.0 */
/* What the STM32 boards here have in common: registers by address, pins, and their two kinds of serial port. */
#ifndef LUTRA_STM32_H
#define LUTRA_STM32_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define BAUD 115200u

/* Gives pin `pin` of the port at `gpio` to the alternate function `function`. */
static inline void stm32_pin(uint32_t gpio, uint32_t pin, uint32_t function) {
  const uint32_t half = gpio + (pin < 8u ? 0x20u : 0x24u), shift = 4u * (pin % 8u);
  REGISTER(half) = (REGISTER(half) & ~(15u << shift)) | function << shift;
  REGISTER(gpio) = (REGISTER(gpio) & ~(3u << 2u * pin)) | 2u << 2u * pin;
}

/* The port of F4 and older: SR, DR, BRR, CR1. */
static inline void stm32_usart_start_v1(uint32_t usart, uint32_t clock_hz) {
  REGISTER(usart + 0x08u) = (clock_hz + BAUD / 2u) / BAUD;
  REGISTER(usart + 0x0Cu) = 1u << 13 | 1u << 3 | 1u << 2; /* port, transmitter, receiver */
}

static inline uint8_t stm32_usart_read_v1(uint32_t usart) {
  while (!(REGISTER(usart) & 1u << 5)) {
  }
  return (uint8_t)REGISTER(usart + 0x04u); /* after SR this clears an overrun as well */
}

static inline void stm32_usart_write_v1(uint32_t usart, uint8_t byte) {
  while (!(REGISTER(usart) & 1u << 7)) {
  }
  REGISTER(usart + 0x04u) = byte;
}

/* The port of L4, G0 and newer: CR1, BRR, ISR, ICR, RDR, TDR. `divider`: cycles of its clock a bit, of an LPUART times 256. */
static inline void stm32_usart_start_v2(uint32_t usart, uint32_t divider) {
  REGISTER(usart + 0x0Cu) = divider;
  REGISTER(usart) = 1u << 3 | 1u << 2 | 1u; /* transmitter, receiver, port */
}

static inline uint8_t stm32_usart_read_v2(uint32_t usart) {
  while (!(REGISTER(usart + 0x1Cu) & 1u << 5)) {
    REGISTER(usart + 0x20u) = 1u << 3; /* an overrun would stop it */
  }
  return (uint8_t)REGISTER(usart + 0x24u);
}

static inline void stm32_usart_write_v2(uint32_t usart, uint8_t byte) {
  while (!(REGISTER(usart + 0x1Cu) & 1u << 7)) {
  }
  REGISTER(usart + 0x28u) = byte;
}

#endif
