/* SPDX-License-Identifier: Apache-2.0 */
/* A board for boards/common/serve.c that is a process: its serial port is standard input and output. */
#include <stdio.h>
#include <stdlib.h>

#include "board.h"
#include "cycles.h"
#include "uart.h"

const uint32_t cpu_hz = 1000000u;

void board_start(void) {
}

uint8_t uart_read(void) {
  fflush(stdout);
  const int byte = getchar();
  if (byte == EOF) {
    exit(0);
  }
  return (uint8_t)byte;
}

void uart_write(uint8_t byte) {
  putchar(byte);
}

void cycles_start(void) {
}

/* Every look at the clock takes a cycle. */
uint64_t cycles_now(void) {
  static uint64_t looks;
  return ++looks;
}

uint32_t stack_high_water_bytes(void) {
  return 123u;
}
