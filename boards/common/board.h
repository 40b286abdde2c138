/* SPDX-License-Identifier: Apache-2.0 */
/* What a firmware in boards/ is made of. */
#ifndef LUTRA_BOARD_H
#define LUTRA_BOARD_H

#include <stddef.h>
#include <stdint.h>

/* What the CPU needs before compiled code may run; in BOARD/board.c. Runs before .data and .bss exist. */
void board_init(void);

/* Coprocessor access for the FPU and MVE (CPACR of the Armv7-M and Armv8-M system control block). */
static inline void enable_coprocessors(void) {
  *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
  __asm__ volatile("dsb\nisb" ::: "memory");
}

int main(void);

/* Tell whoever watches, and stop: through the debugger (semihosting.c), or the serial port (serve.c), which cannot stop. */
void board_print(const char *text);
__attribute__((noreturn)) void board_exit(int code);

#define EXIT_FAULT 91 /* the CPU took a fault */

/* Deepest use of the stack since reset, in bytes. */
uint32_t stack_high_water_bytes(void);

#endif
