/* SPDX-License-Identifier: Apache-2.0 */
/* Answers a host on the serial port: messages of link.h (boards/PROTOCOL.md), or the text of MLPerf Tiny, whichever comes first. */
#include "board.h"
#include "bundle.h"
#include "cycles.h"
#include "link.h"
#include "mlperf_tiny.h"
#include "network.h"
#include "uart.h"
#include "lutra/lutra_kernels.h"

#define PROTOCOL_VERSION 1u
#define HEADER_BYTES 3u /* of a reply: kind, sequence, status */

enum kind { HELLO = 1, WRITE = 2, RUN = 3, READ = 4, LAYERS = 5, CHECK = 6 };

/* Of a reply. What a bundle returns, LUTRA_OK or an error below 0, is there as a byte of two's complement. */
enum { DONE = LUTRA_OK, UNKNOWN_KIND = 1, WRONG_SIZE = 2, OUT_OF_RANGE = 3, OTHER_INPUT = 4 };

static uint32_t get32(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint8_t *put32(uint8_t *bytes, uint32_t value) {
  for (int i = 0; i < 4; i++) {
    *bytes++ = (uint8_t)(value >> (8 * i));
  }
  return bytes;
}

static uint8_t *put_bytes(uint8_t *bytes, const void *data, size_t size) {
  const uint8_t *source = data;
  for (; size > 0u; size--) {
    *bytes++ = *source++;
  }
  return bytes;
}

static int say_hello(uint8_t **reply) {
  static const char identity[] = BUNDLE_SHA256 BUNDLE_NAME;
  uint8_t *end = *reply;
  *end++ = PROTOCOL_VERSION;
  end = put32(end, cpu_hz);
  end = put32(end, (uint32_t)network_input_bytes);
  end = put32(end, (uint32_t)network_output_bytes);
  end = put32(end, BUNDLE_MACRO(LAYERS));
  end = put32(end, BUNDLE_MACRO(ARENA_BYTES));
  *reply = put_bytes(end, identity, sizeof identity - 1u);
  return DONE;
}

static int write_input(const uint8_t *payload, size_t size) {
  if (size < 4u) {
    return WRONG_SIZE;
  }
  const uint32_t offset = get32(payload);
  if (offset > network_input_bytes || size - 4u > network_input_bytes - offset) {
    return OUT_OF_RANGE;
  }
  put_bytes((uint8_t *)network_input + offset, payload + 4, size - 4u);
  return DONE;
}

/* Only on the input that the host means: parts of it may have been lost, or the board started anew. */
static int run(const uint8_t *payload, size_t size, uint8_t **reply) {
  if (size != 4u) {
    return WRONG_SIZE;
  }
  if (get32(payload) != lutra_crc32(network_input, network_input_bytes)) {
    return OTHER_INPUT;
  }
  const int status = network_run();
  uint8_t *end = put32(*reply, network_cycles);
  end = put32(end, lutra_crc32(network_output, network_output_bytes));
  *reply = put32(end, stack_high_water_bytes());
  return status;
}

/* `payload`: first, count; both in units of `unit` bytes of `data`, which has `size` bytes. */
static int read_from(const void *data, size_t bytes, size_t unit, const uint8_t *payload, size_t size, uint8_t **reply) {
  if (size != 8u) {
    return WRONG_SIZE;
  }
  const uint32_t first = get32(payload), count = get32(payload + 4);
  if (first > bytes / unit || count > bytes / unit - first || count > (LINK_MESSAGE_BYTES - HEADER_BYTES) / unit) {
    return OUT_OF_RANGE;
  }
  *reply = put_bytes(*reply, (const uint8_t *)data + first * unit, count * unit);
  return DONE;
}

static void answer(const uint8_t *request, size_t size) {
  static uint8_t reply[LINK_MESSAGE_BYTES + LINK_CRC_BYTES];
  if (size < 2u) {
    return;
  }
  const uint8_t *payload = request + 2;
  uint8_t *end = reply + HEADER_BYTES;
  int status = UNKNOWN_KIND;
  size -= 2u;
  switch ((enum kind)request[0]) {
    case HELLO: status = say_hello(&end); break;
    case WRITE: status = write_input(payload, size); break;
    case RUN: status = run(payload, size, &end); break;
    case READ: status = read_from(network_output, network_output_bytes, 1u, payload, size, &end); break;
    case LAYERS:
      status = read_from(network_layer_cycles, 4u * BUNDLE_MACRO(LAYERS), 4u, payload, size, &end);
      break;
    case CHECK: status = BUNDLE(check)(); break;
  }
  reply[0] = request[0];
  reply[1] = request[1];
  reply[2] = (uint8_t)status;
  link_send(reply, (size_t)(end - reply));
}

int main(void) {
  static struct link link;
  int messages = 0, text = 0; /* what has been understood so far */
  board_start();
  cycles_start();
  mlperf_tiny_start();
  for (;;) {
    const uint8_t byte = uart_read();
    if (!messages && mlperf_tiny_take(byte)) {
      text = 1;
    }
    if (!text) {
      const size_t size = link_take(&link, byte);
      if (size > 0u) {
        messages = 1;
        answer(link.bytes, size);
      }
    }
  }
}

void board_print(const char *text) {
  while (*text != '\0') {
    uart_write((uint8_t)*text++);
  }
}

void board_exit(int code) {
  (void)code; /* there is nobody to tell */
  for (;;) {
  }
}
