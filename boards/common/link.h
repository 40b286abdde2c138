/* SPDX-License-Identifier: Apache-2.0 */
/* Messages over a line that may lose, change or invent bytes: a message arrives whole or not at all.
 *
 * On the line a message and its CRC-32 (least byte first) are stuffed (COBS), so that they hold no zero, between two zeros: whatever
 * happens, the next zero is where a reader finds its place again. */
#ifndef LUTRA_LINK_H
#define LUTRA_LINK_H

#include <stddef.h>
#include <stdint.h>

#define LINK_CRC_BYTES 4u
#define LINK_MESSAGE_BYTES 244u /* the most; with its CRC it is stuffed as one run */
#define LINK_LINE_BYTES (LINK_MESSAGE_BYTES + LINK_CRC_BYTES + 1u)

/* What came since the last zero; a reader begins with all zeros. */
struct link {
  size_t count;
  uint8_t bytes[LINK_LINE_BYTES];
};

/* Takes a byte from the line. Returns the length of the message that it completes, which is then in `bytes`, else 0. */
size_t link_take(struct link *link, uint8_t byte);

/* Sends a message of up to LINK_MESSAGE_BYTES through uart_write. `message` must have room for its CRC. */
void link_send(uint8_t *message, size_t size);

#endif
