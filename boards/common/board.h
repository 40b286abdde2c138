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

/* Deepest use of the stack since reset, in bytes. */
uint32_t stack_high_water_bytes(void);

#endif
