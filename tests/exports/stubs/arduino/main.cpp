/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a sketch's loop once. */
#include <stdio.h>

#include "Arduino.h"

SerialPort Serial;

void SerialPort::begin(unsigned long) {}
void SerialPort::print(const char *text) { fputs(text, stdout); }
void delay(unsigned long) {}

int main() {
  setup();
  loop();
}
