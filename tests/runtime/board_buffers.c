/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers of a board, from a pool of MEMORY_BYTES; but one of each case, if it fits EDGE_BYTES, ends at EDGE, where memory ends:
 * the CPU faults if something goes further. */
#include "buffers.h"
#include "random.h"
#include "board.h"

enum { GUARD_BYTES = 16, GUARD = 0xA5, MAX_BUFFERS = 64, UNKNOWN = INT32_MAX };

static uint32_t words[MEMORY_BYTES / 4];
static uint8_t *const pool = (uint8_t *)words;
static uint32_t pool_used, buffer_count;
static int32_t until_edge = UNKNOWN; /* buffers of this case */
static struct {
  uint32_t start, end;
} buffers[MAX_BUFFERS];

/* Guards take the place up to the next buffer. */
static void guard(uint32_t end) {
  while (pool_used < end) {
    pool[pool_used++] = GUARD;
  }
}

/* Not every board of QEMU faults there by itself; those that do not have the MPU of Armv7-M. */
static void forbid_what_follows(void) {
#if !defined(__ARM_ARCH_8M_MAIN__) && !defined(__ARM_ARCH_8_1M_MAIN__)
  volatile uint32_t *const mpu = (volatile uint32_t *)0xE000ED90u; /* type, control, number, base, attributes and size */
  if (mpu[0] != 0u) {
    mpu[2] = 0u;
    mpu[3] = EDGE;
    mpu[4] = 1u << 28 | 19u << 1 | 1u; /* no access to 2^20 bytes */
    mpu[1] = 5u;                       /* the default map elsewhere */
  }
#endif
}

static uint8_t *edge(uint32_t bytes) {
  forbid_what_follows();
  uint8_t *const start = (uint8_t *)(uintptr_t)EDGE - bytes;
  for (uint32_t i = 0u; i < bytes; i++) {
    start[i] = (uint8_t)next_random();
  }
  return start;
}

/* Once in a case, if that buffer is not too large. */
static int edge_is_next(uint32_t bytes) {
  if (until_edge == UNKNOWN) {
    until_edge = between(0, 4);
  }
  return until_edge-- == 0 && bytes <= EDGE_BYTES;
}

static uint8_t *guarded(uint32_t before, uint32_t bytes) {
  guard((pool_used + 3u) / 4u * 4u + before);
  const uint32_t start = pool_used;
  if (buffer_count == MAX_BUFFERS || start + bytes + GUARD_BYTES > sizeof words) {
    board_print("\n  FAIL: the test has too little memory\n");
    board_exit(1);
  }
  for (; pool_used < start + bytes; pool_used++) {
    pool[pool_used] = (uint8_t)next_random();
  }
  buffers[buffer_count].start = start;
  buffers[buffer_count].end = pool_used;
  buffer_count++;
  guard(pool_used + GUARD_BYTES);
  return pool + start;
}

void *buffer(size_t bytes) {
  const uint32_t size = (bytes + 3u) / 4u * 4u;
  return edge_is_next(size) ? edge(size) : guarded(4u * (uint32_t)between(0, 3), bytes);
}

int8_t *random_bytes(size_t count) {
  return (int8_t *)(edge_is_next(count) ? edge(count) : guarded((uint32_t)between(0, 3), count));
}

int free_buffers(void) {
  int intact = 1;
  uint32_t at = 0u;
  for (uint32_t i = 0u; i < buffer_count; i++) {
    for (; at < buffers[i].start; at++) {
      intact &= pool[at] == GUARD;
    }
    at = buffers[i].end;
  }
  for (; at < pool_used; at++) {
    intact &= pool[at] == GUARD;
  }
  pool_used = buffer_count = 0u;
  until_edge = UNKNOWN;
  return intact;
}
