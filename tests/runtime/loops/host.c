/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "guarded_call.h"
#include "report.h"

void print(const char *text) { fputs(text, stdout); }

function guarded(function loop) { return loop; }

const char *changed_register(void) { return NULL; }

int guard_works(void) { return 1; }
