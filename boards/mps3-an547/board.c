/* SPDX-License-Identifier: Apache-2.0 */
#include "board.h"

/* The FPU and the vector extension (MVE) are off after reset. */
void board_init(void) {
  enable_coprocessors();
}
