/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"
#include "board.h"

void print(const char *text) { board_print(text); }
