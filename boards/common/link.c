/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include "lutra/lutra_kernels.h"
#include "uart.h"

/* In place; 0 if that cannot have been sent. */
static size_t unstuff(uint8_t *bytes, size_t count) {
  size_t in = 0, out = 0;
  while (in < count) {
    const size_t next = in + bytes[in];
    if (next > count) {
      return 0;
    }
    for (in++; in < next; in++) {
      bytes[out++] = bytes[in];
    }
    if (in < count) {
      bytes[out++] = 0u;
    }
  }
  return out;
}

static uint8_t crc_byte(uint32_t crc, size_t index) {
  return (uint8_t)(crc >> (8u * index));
}

static int is_whole(const uint8_t *bytes, size_t size) {
  const uint32_t crc = lutra_crc32(bytes, size);
  for (size_t i = 0; i < LINK_CRC_BYTES; i++) {
    if (bytes[size + i] != crc_byte(crc, i)) {
      return 0;
    }
  }
  return 1;
}

size_t link_take(struct link *link, uint8_t byte) {
  if (byte != 0u) {
    if (link->count < LINK_LINE_BYTES) {
      link->bytes[link->count] = byte;
    }
    link->count += link->count <= LINK_LINE_BYTES; /* one more than fits says that it was too long */
    return 0;
  }
  const size_t count = link->count;
  link->count = 0;
  if (count > LINK_LINE_BYTES) {
    return 0;
  }
  const size_t size = unstuff(link->bytes, count);
  return size > LINK_CRC_BYTES && is_whole(link->bytes, size - LINK_CRC_BYTES) ? size - LINK_CRC_BYTES : 0;
}

void link_send(uint8_t *message, size_t size) {
  const uint32_t crc = lutra_crc32(message, size);
  for (size_t i = 0; i < LINK_CRC_BYTES; i++) {
    message[size++] = crc_byte(crc, i);
  }
  uart_write(0u);
  for (size_t start = 0; start <= size;) {
    size_t end = start;
    while (end < size && message[end] != 0u) {
      end++;
    }
    uart_write((uint8_t)(end - start + 1u));
    while (start < end) {
      uart_write(message[start++]);
    }
    start++; /* the zero, or one past the end */
  }
  uart_write(0u);
}
