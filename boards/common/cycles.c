/* SPDX-License-Identifier: Apache-2.0 */
/* SysTick, which every Cortex-M has: the cycle counter of the DWT, missing in M0 and M0+ and in emulators, would say the same. */
#include "cycles.h"

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010u)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014u)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xE000E018u)
#define PROCESSOR_CLOCK_WITH_INTERRUPT 7u
#define MOST 0xFFFFFFu /* it counts down from here */

static volatile uint32_t carries;

void cycles_start(void) {
  SYSTICK_RELOAD = MOST;
  SYSTICK_VALUE = 0u;
  SYSTICK_CONTROL = PROCESSOR_CLOCK_WITH_INTERRUPT;
}

void cycles_carry(void) {
  carries++;
}

uint64_t cycles_now(void) {
  uint32_t before, value;
  do {
    before = carries;
    value = SYSTICK_VALUE;
  } while (before != carries);
  return ((uint64_t)before << 24) + (MOST - value);
}
