/* SPDX-License-Identifier: Apache-2.0 */
/* Reset, the vector table, faults, and the high-water mark of the stack. Sections and symbols are those of sections.ld. */
#include "board.h"

#define PAINT 0xA5A5A5A5u
#define FRAME_WORDS 8u /* what an exception pushes: r0-r3, r12, lr, pc, xpsr */
#define FRAME_PC 6u

extern uint32_t stack_bottom[], stack_top[], data_start[], data_end[], bss_start[], bss_end[];
extern const uint32_t data_load[];

void reset(void);
void fault(void);
void report_fault(const uint32_t *frame);

uint32_t stack_high_water_bytes(void) {
  const uint32_t *word = stack_bottom;
  while (word < stack_top && *word == PAINT) {
    word++;
  }
  return (uint32_t)(stack_top - word) * (uint32_t)sizeof *word;
}

void reset(void) {
  const uint32_t *load = data_load;
  const uint32_t *used;
  board_init();
  __asm__ volatile("mov %0, sp" : "=r"(used));
  for (uint32_t *word = stack_bottom; word < used; word++) {
    *word = PAINT;
  }
  for (uint32_t *word = data_start; word < data_end; word++) {
    *word = *load++;
  }
  for (uint32_t *word = bss_start; word < bss_end; word++) {
    *word = 0;
  }
  board_exit(main());
}

static void write_hex(char *text, uint32_t value) {
  for (int shift = 28; shift >= 0; shift -= 4) {
    *text++ = "0123456789abcdef"[(value >> shift) & 15u];
  }
}

void report_fault(const uint32_t *frame) {
  uint32_t exception;
  __asm__("mrs %0, ipsr" : "=r"(exception));
  board_print("fault: exception 0x");
  char text[] = "00000000\n";
  write_hex(text, exception);
  board_print(text);
  if (frame < stack_bottom || frame + FRAME_WORDS > stack_top) {
    board_print("the stack overflowed\n");
  } else {
    write_hex(text, frame[FRAME_PC]);
    board_print("pc 0x");
    board_print(text);
  }
  board_exit(EXIT_FAULT);
}

/* Where the stack has run out, the report starts over at its top; the frame at the other end stays readable. */
__attribute__((naked)) void fault(void) {
  __asm__("mrs r0, msp\n"
          "ldr r1, =stack_bottom + 512\n"
          "cmp r0, r1\n"
          "bhs 1f\n"
          "ldr r1, =stack_top\n"
          "mov sp, r1\n"
          "1: b report_fault\n");
}

/* cycles.c has it, where there is a clock. */
__attribute__((weak, alias("fault"))) void cycles_carry(void);

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, reset, fault, fault, fault, fault, fault, fault, NULL, NULL, NULL, fault, fault, NULL, fault, cycles_carry,
};
