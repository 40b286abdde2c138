/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <sanitizer/asan_interface.h>
#include <string.h>

enum { GUARD_BYTES = 64, GUARD = 0xA5, MAX_BUFFERS = 24 };

static struct {
  uint8_t *start;
  size_t before, bytes;
} buffers[MAX_BUFFERS];
static size_t buffer_count;
static uint32_t state;

void seed_random(void) { state = 0x2545F491u; }

static uint32_t next_random(void) { /* xorshift32 */
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

int32_t between(int32_t low, int32_t high) {
  const uint64_t span = (uint64_t)((int64_t)high - low) + 1u;
  return (int32_t)(low + (int64_t)((next_random() * span) >> 32));
}

static uint8_t *guarded(size_t before, size_t bytes) {
  CHECK(buffer_count < MAX_BUFFERS);
  uint8_t *const start = malloc(before + bytes + GUARD_BYTES);
  CHECK(start != NULL);
  memset(start, GUARD, before + bytes + GUARD_BYTES);
  for (size_t i = 0; i < bytes; i++) {
    start[before + i] = (uint8_t)next_random();
  }
  ASAN_POISON_MEMORY_REGION(start, before);
  ASAN_POISON_MEMORY_REGION(start + before + bytes, GUARD_BYTES);
  buffers[buffer_count].start = start;
  buffers[buffer_count].before = before;
  buffers[buffer_count].bytes = bytes;
  buffer_count++;
  return start + before;
}

void *buffer(size_t bytes) { return guarded(GUARD_BYTES, bytes); }

int8_t *random_bytes(size_t count) { return (int8_t *)guarded(GUARD_BYTES + (size_t)between(0, 1), count); }

void check_and_free_buffers(void) {
  while (buffer_count > 0) {
    buffer_count--;
    uint8_t *const start = buffers[buffer_count].start;
    const size_t before = buffers[buffer_count].before, bytes = buffers[buffer_count].bytes;
    ASAN_UNPOISON_MEMORY_REGION(start, before + bytes + GUARD_BYTES);
    for (size_t i = 0; i < before; i++) {
      CHECK(start[i] == GUARD);
    }
    for (size_t i = 0; i < GUARD_BYTES; i++) {
      CHECK(start[before + bytes + i] == GUARD);
    }
    free(start);
  }
}
