/* SPDX-License-Identifier: Apache-2.0 */
#include "board.h"

/* The FPU is off after reset. */
void board_init(void) {
  enable_coprocessors();
}
