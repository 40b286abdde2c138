/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include "semihosting.h"

void print_line(const char *text) {
  semihosting_print(text);
  semihosting_print("\n");
}

void fail(const char *file, int line, const char *condition) {
  char number[] = ":0000: ";
  for (int i = 4; i > 0; i--, line /= 10) {
    number[i] = (char)('0' + line % 10);
  }
  semihosting_print(file);
  semihosting_print(number);
  print_line(condition);
  semihosting_exit(1);
}
