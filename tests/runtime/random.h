/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUTRA_TESTS_RANDOM_H
#define LUTRA_TESTS_RANDOM_H

#include <stdint.h>

void seed_random(uint32_t seed); /* not 0 */
uint32_t next_random(void);
int32_t between(int32_t low, int32_t high); /* both included */

#endif
