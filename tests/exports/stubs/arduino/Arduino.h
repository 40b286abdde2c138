/* SPDX-License-Identifier: Apache-2.0 */
/* What a sketch uses of Arduino. */
#ifndef ARDUINO_H
#define ARDUINO_H

struct SerialPort {
  void begin(unsigned long baud);
  void print(const char *text);
};
extern SerialPort Serial;

void delay(unsigned long milliseconds);
void setup();
void loop();

#endif
