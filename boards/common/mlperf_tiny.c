/* SPDX-License-Identifier: Apache-2.0 */
#include "mlperf_tiny.h"

#include "board.h"
#include "bundle.h"
#include "cycles.h"
#include "network.h"
#include "uart.h"

#define COMMAND_BYTES 128u
#define DIGITS 10u /* of the largest 32-bit number */
#define WARMUP 10u /* where `infer` does not say */

static char command[COMMAND_BYTES];
static size_t command_length, loaded, expected;
static int understood; /* a command: from then on all that comes is text */

static void print_number(uint32_t value, uint32_t least_digits) {
  char text[DIGITS + 1u];
  char *digit = text + DIGITS;
  *digit = '\0';
  do {
    *--digit = (char)('0' + value % 10u);
    value /= 10u;
    least_digits -= least_digits > 0u;
  } while (value > 0u || least_digits > 0u);
  board_print(digit);
}

/* With three digits behind the point. */
static void print_real(float value) {
  if (value < 0.0f) {
    board_print("-");
    value = -value;
  }
  const uint32_t thousandths = value < 4e6f ? (uint32_t)(value * 1000.0f + 0.5f) : 4000000000u;
  print_number(thousandths / 1000u, 1u);
  board_print(".");
  print_number(thousandths % 1000u, 3u);
}

static void print_line(const char *before, uint32_t value, const char *after) {
  board_print(before);
  print_number(value, 1u);
  board_print(after);
  board_print("\r\n");
}

static void print_time(void) {
  print_line("m-lap-us-", (uint32_t)(cycles_now() * 1000000u / cpu_hz), "");
}

static void print_results(void) {
  const int8_t *value = network_output;
  const char *separator = "";
  board_print("m-results-[");
  for (size_t port = 0; port < network_output_ports; port++) {
    for (size_t i = 0; i < network_outputs[port].bytes; i++) {
      board_print(separator);
      print_real(network_outputs[port].scale * (float)(*value++ - network_outputs[port].zero_point));
      separator = ",";
    }
  }
  board_print("]\r\n");
}

/* The word at `*text`, which is ended and moved past; NULL if there is none. */
static char *next_word(char **text) {
  char *word = *text;
  while (*word == ' ') {
    word++;
  }
  char *end = word;
  while (*end != '\0' && *end != ' ') {
    end++;
  }
  *text = *end == '\0' ? end : end + 1;
  *end = '\0';
  return end == word ? NULL : word;
}

static int is(const char *word, const char *name) {
  while (*word != '\0' && *word == *name) {
    word++;
    name++;
  }
  return *word == *name;
}

/* `otherwise` for no word; 0 for what is no number. */
static uint32_t number(const char *word, uint32_t otherwise) {
  if (word == NULL) {
    return otherwise;
  }
  uint32_t value = 0;
  for (; *word >= '0' && *word <= '9' && value < 100000000u; word++) {
    value = value * 10u + (uint32_t)(*word - '0');
  }
  return *word == '\0' ? value : 0u;
}

static int hexadecimal(char digit) {
  if (digit >= '0' && digit <= '9') {
    return digit - '0';
  }
  digit = (char)(digit | 0x20);
  return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Networks whose input is the bytes 0..255 themselves get them; others their int8 values as two's complement. */
static void load_byte(uint8_t byte) {
  const int pixels = network_inputs[0].scale == 1.0f && network_inputs[0].zero_point == -128;
  network_input[loaded++] = (int8_t)(pixels ? byte ^ 0x80u : byte);
}

static void load_hexadecimal(const char *digits) {
  if (loaded == expected) {
    board_print("e-[No bytes are expected: use 'db load' first]\r\n");
    return;
  }
  while (*digits != '\0' && loaded < expected) {
    const int high = hexadecimal(digits[0]), low = high < 0 ? -1 : hexadecimal(digits[1]);
    if (low < 0) {
      board_print("e-[Digits that are not hexadecimal pairs]\r\n");
      return;
    }
    load_byte((uint8_t)(high << 4 | low));
    digits += 2;
  }
  if (loaded == expected) {
    board_print("m-load-done\r\n");
  }
}

static void buffer(char *rest) {
  char *word = next_word(&rest);
  if (word == NULL) {
    board_print("e-[Command 'db' requires a subcommand]\r\n");
  } else if (is(word, "load")) {
    const uint32_t bytes = number(next_word(&rest), 0u);
    if (bytes == network_input_bytes) {
      loaded = 0;
      expected = bytes;
      print_line("m-[Expecting ", bytes, " bytes]");
    } else {
      print_line("e-[The input has ", (uint32_t)network_input_bytes, " bytes]");
    }
  } else if (is(word, "print")) {
    for (size_t i = 0; i < loaded; i++) {
      print_line("m-buffer-", (uint8_t)network_input[i], "");
    }
  } else {
    load_hexadecimal(word);
  }
}

static int repeat(uint32_t count) {
  int status = LUTRA_OK;
  for (; count > 0u && status == LUTRA_OK; count--) {
    status = network_run();
  }
  return status;
}

static void infer(char *rest) {
  const uint32_t times = number(next_word(&rest), 1u), warmup = number(next_word(&rest), WARMUP);
  if (times == 0u) {
    board_print("e-[Inference iterations must be >0]\r\n");
    return;
  }
  if (loaded != network_input_bytes) {
    print_line("e-[Load the input first: ", (uint32_t)network_input_bytes, " bytes]");
    return;
  }
  print_line("m-warmup-start-", warmup, "");
  int status = repeat(warmup);
  board_print("m-warmup-done\r\n");
  print_line("m-infer-start-", times, "");
  print_time();
  if (status == LUTRA_OK) {
    status = repeat(times);
  }
  print_time();
  if (status != LUTRA_OK) {
    print_line("e-[The network stopped with ", (uint32_t)-status, "]");
    return;
  }
  board_print("m-infer-done\r\n");
  print_results();
}

static int obey(char *rest) {
  char *word = next_word(&rest);
  if (word == NULL) {
    return 0;
  }
  if (is(word, "name")) {
    board_print("m-name-dut-[lutra]\r\n");
  } else if (is(word, "timestamp")) {
    print_time();
  } else if (is(word, "profile")) {
    board_print("m-profile-[ULPMark for tinyML Firmware V0.0.1]\r\nm-model-[" BUNDLE_NAME "]\r\n");
  } else if (is(word, "help")) {
    board_print("name, timestamp, profile, db load N, db HEX, db print, infer N WARMUP, results: each ends in %\r\n");
  } else if (is(word, "db")) {
    buffer(rest);
  } else if (is(word, "infer")) {
    infer(rest);
  } else if (is(word, "results")) {
    print_results();
  } else if (understood) {
    board_print("e-[Unknown command: ");
    board_print(word);
    board_print("]\r\n");
  } else {
    return 0;
  }
  board_print("m-ready\r\n");
  understood = 1;
  return 1;
}

void mlperf_tiny_start(void) {
  board_print("m-init-done\r\nm-ready\r\n");
}

int mlperf_tiny_take(uint8_t byte) {
  if (byte != '%') {
    if (byte < ' ' || byte > '~') {
      command_length = 0; /* no command holds it; newlines between commands are nothing */
    } else {
      command[command_length] = (char)byte;
      command_length += command_length < COMMAND_BYTES - 1u;
    }
    return 0;
  }
  command[command_length] = '\0';
  command_length = 0;
  return obey(command);
}
