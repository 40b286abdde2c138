/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"
#include "semihosting.h"

void print(const char *text) { semihosting_print(text); }
