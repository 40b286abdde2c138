/* SPDX-License-Identifier: Apache-2.0 */
#include "board.h"

/* A Cortex-M3 runs compiled code as it leaves reset. */
void board_init(void) {
}
