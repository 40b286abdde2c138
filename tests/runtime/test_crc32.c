/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "harness.h"
#include "lutra/lutra_kernels.h"

static void bytes_give_the_published_check_value(void) { CHECK(lutra_crc32("123456789", 9) == 0xCBF43926u); }

static void nothing_gives_zero(void) { CHECK(lutra_crc32("", 0) == 0u); }

static void halfwords_count_low_byte_first(void) {
  const struct {
    uint16_t halfwords[4];
    uint8_t bytes[2];
  } table = {{'1' + 256 * '2', '3' + 256 * '4', '5' + 256 * '6', '7' + 256 * '8'}, {'9', 0}};
  CHECK(lutra_crc32(&table, 9) == 0xCBF43926u);
}

static void every_flipped_bit_changes_it(void) {
  uint8_t *const data = buffer(24);
  const uint32_t crc = lutra_crc32(data, 24);
  for (int bit = 0; bit < 24 * 8; bit++) {
    data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    CHECK(lutra_crc32(data, 24) != crc);
    data[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
}

int main(void) {
  RUN(1, bytes_give_the_published_check_value);
  RUN(1, nothing_gives_zero);
  RUN(1, halfwords_count_low_byte_first);
  RUN(1, every_flipped_bit_changes_it);
  return 0;
}
