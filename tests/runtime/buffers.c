/* SPDX-License-Identifier: Apache-2.0 */
#include "buffers.h"

#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"

enum { GUARD_BYTES = 64, GUARD = 0xA5, MAX_BUFFERS = 64 };

static struct {
  uint8_t *start;
  size_t before, bytes;
} buffers[MAX_BUFFERS];
static size_t buffer_count;

static uint8_t *guarded(size_t before, size_t bytes) {
  uint8_t *const start = malloc(before + bytes + GUARD_BYTES);
  if (start == NULL || buffer_count == MAX_BUFFERS) {
    abort();
  }
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

void *buffer(size_t bytes) { return guarded(GUARD_BYTES + 4u * (size_t)between(0, 3), bytes); }

int8_t *random_bytes(size_t count) { return (int8_t *)guarded(GUARD_BYTES + (size_t)between(0, 3), count); }

int free_buffers(void) {
  int intact = 1;
  while (buffer_count > 0) {
    buffer_count--;
    uint8_t *const start = buffers[buffer_count].start;
    const size_t before = buffers[buffer_count].before, bytes = buffers[buffer_count].bytes;
    ASAN_UNPOISON_MEMORY_REGION(start, before + bytes + GUARD_BYTES);
    for (size_t i = 0; i < before; i++) {
      intact &= start[i] == GUARD;
    }
    for (size_t i = 0; i < GUARD_BYTES; i++) {
      intact &= start[before + bytes + i] == GUARD;
    }
    free(start);
  }
  return intact;
}
