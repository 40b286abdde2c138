/* SPDX-License-Identifier: Apache-2.0 */
#include "semihosting.h"

#include "board.h"

enum operation {
  SYS_OPEN = 0x01,
  SYS_WRITE0 = 0x04,
  SYS_WRITE = 0x05,
  SYS_READ = 0x06,
  SYS_EXIT_EXTENDED = 0x20,
};

#define APPLICATION_EXIT 0x20026u

static int32_t call(enum operation operation, const void *arguments) {
  register int32_t r0 __asm__("r0") = (int32_t)operation;
  register const void *r1 __asm__("r1") = arguments;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

static uint32_t length(const char *text) {
  uint32_t count = 0;
  while (text[count] != '\0') {
    count++;
  }
  return count;
}

/* The bytes that were not transferred. */
static int32_t transfer(enum operation operation, int32_t file, const void *data, size_t bytes) {
  const uint32_t arguments[] = {(uint32_t)file, (uint32_t)(uintptr_t)data, (uint32_t)bytes};
  return call(operation, arguments);
}

int32_t semihosting_open(const char *name, enum semihosting_mode mode) {
  const uint32_t arguments[] = {(uint32_t)(uintptr_t)name, (uint32_t)mode, length(name)};
  const int32_t file = call(SYS_OPEN, arguments);
  if (file < 0) {
    board_print("cannot open ");
    board_print(name);
    board_print("\n");
    board_exit(EXIT_FILE);
  }
  return file;
}

int semihosting_read(int32_t file, void *data, size_t bytes) {
  return transfer(SYS_READ, file, data, bytes) == 0;
}

void semihosting_write(int32_t file, const void *data, size_t bytes) {
  if (transfer(SYS_WRITE, file, data, bytes) != 0) {
    board_print("cannot write: is the disk full?\n");
    board_exit(EXIT_FILE);
  }
}

void board_print(const char *text) {
  call(SYS_WRITE0, text);
}

void board_exit(int code) {
  const uint32_t arguments[] = {APPLICATION_EXIT, (uint32_t)code};
  call(SYS_EXIT_EXTENDED, arguments);
  for (;;) {
  }
}
