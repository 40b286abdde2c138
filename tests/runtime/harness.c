/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

void print_line(const char *text) { puts(text); }

void fail(const char *file, int line, const char *condition) {
  fprintf(stderr, "%s:%d: %s\n", file, line, condition);
  exit(1);
}
