/* SPDX-License-Identifier: Apache-2.0 */
/* What the example uses of the Pico SDK. It sleeps for ever after its first inference. */
#include <stdlib.h>

static inline void stdio_init_all(void) {}
static inline void sleep_ms(unsigned milliseconds) { exit(milliseconds == 0u); }
