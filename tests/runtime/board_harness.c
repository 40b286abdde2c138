/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include "board.h"

void print_line(const char *text) {
  board_print(text);
  board_print("\n");
}

void fail(const char *file, int line, const char *condition) {
  char number[] = ":0000: ";
  for (int i = 4; i > 0; i--, line /= 10) {
    number[i] = (char)('0' + line % 10);
  }
  board_print(file);
  board_print(number);
  print_line(condition);
  board_exit(1);
}
