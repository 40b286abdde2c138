/* SPDX-License-Identifier: Apache-2.0 */
#include "random.h"

static uint32_t state = 1u;

void seed_random(uint32_t seed) { state = seed; }

uint32_t next_random(void) { /* xorshift32 */
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

int32_t between(int32_t low, int32_t high) {
  const uint64_t span = (uint64_t)((int64_t)high - low) + 1u;
  return (int32_t)(low + (int64_t)((next_random() * span) >> 32));
}
