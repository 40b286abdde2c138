/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "../loops.h"

#ifdef LUTRA_ARM_V7M_BACKEND_H

/* Shifts to the right stop one short of output_shift + (multiplier >> 12): so 1 << it is the half that rounds, and the last
 * position comes free of charge with the next addition. */
#define LOAD "ldr %[record], [%[channels]], #4\nldr %[sum], [%[sums]], #4\n"
#define ADD_BIAS "sxth %[t], %[record]\nlsl %[t], %[t], %[bias]\nadd %[sum], %[sum], %[t]\n"
#define SCALE(multiply)                                                               \
  "asr %[sum], %[sum], %[acc_shift]\nubfx %[t], %[record], #16, #12\n"               \
  "add %[record], %[shift], %[record], lsr #28\n" multiply "asr %[sum], %[sum], %[record]\n"
#define MULTIPLY "lsl %[half], %[one], %[record]\nmla %[sum], %[sum], %[t], %[half]\n"
#define MULTIPLY_WITHOUT_HALF "mul %[sum], %[sum], %[t]\nlsl %[t], %[one], %[record]\nadd %[sum], %[sum], %[t]\n"
#ifdef __ARM_FEATURE_DSP
#define MAX_BIAS_SHIFT 14u
#define BIAS (1u << how->bias_shift)
#define SUM "smlabb %[sum], %[record], %[bias], %[sum]\n"
#else
#define MAX_BIAS_SHIFT 31u
#define BIAS (uint32_t)how->bias_shift
#define SUM ADD_BIAS
#endif
#define CHANNEL \
  LOAD SUM SCALE(MULTIPLY) "add %[sum], %[zero_point], %[sum], asr #1\nssat %[sum], #8, %[sum]\nstrb %[sum], [%[output]], #1\n"

/* Apart from the rest, which needs no register for the sake of the call. */
LUTRA_OUT_OF_LINE static void requantize_limited(const lutra_requantization *how, const lutra_channel *channels,
                                                 const uint32_t *sums, uint32_t count, int8_t *output) {
  memset(output, -128, count);
  lutra_requantize_max_v7m(how, channels, sums, count, output);
}

void lutra_requantize_v7m(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums, uint32_t count,
                          int8_t *output) {
  if (how->output_min > -128 || how->output_max < 127 || how->bias_shift > MAX_BIAS_SHIFT) {
    requantize_limited(how, channels, sums, count, output);
    return;
  }
  uint32_t sum, record, t, half;
  __asm__ volatile(
      "lsrs %[count], %[count], #1\nbcc 1f\nadd %[count], %[count], #1\nb 2f\n"
      "1:\n" CHANNEL "2:\n" CHANNEL
      "subs %[count], %[count], #1\nbne 1b\n"
      : [channels] "+r"(channels), [sums] "+r"(sums), [count] "+r"(count), [output] "+r"(output), [sum] "=&r"(sum),
        [record] "=&r"(record), [t] "=&r"(t), [half] "=&r"(half)
      : [bias] "r"(BIAS), [acc_shift] "r"((uint32_t)how->acc_shift), [shift] "r"(how->output_shift - 1), [one] "r"(1),
        [zero_point] "r"((int32_t)how->output_zero_point)
      : "cc", "memory");
}

/* usat #8 makes max(0, x) of a difference: that from the maximum, then that from the minimum. A shift takes the lowest byte of a
 * register; something else is above it. */
void lutra_requantize_max_v7m(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums,
                              uint32_t count, int8_t *output) {
  uint32_t sum, record, t;
  __asm__ volatile(
      "1:\n" LOAD ADD_BIAS SCALE(MULTIPLY_WITHOUT_HALF)
      "sub %[sum], %[top], %[sum], asr #1\nusat %[sum], #8, %[sum]\n"
      "rsb %[sum], %[sum], %[bias], lsr #8\nusat %[sum], #8, %[sum]\n"
      "ldrsb %[t], [%[output]], #1\nadd %[sum], %[sum], %[acc_shift], asr #8\n"
      "cmp %[sum], %[t]\nit gt\nstrbgt %[sum], [%[output], #-1]\n"
      "subs %[count], %[count], #1\nbne 1b\n"
      : [channels] "+r"(channels), [sums] "+r"(sums), [count] "+r"(count), [output] "+r"(output), [sum] "=&r"(sum),
        [record] "=&r"(record), [t] "=&r"(t)
      : [bias] "r"(how->bias_shift + (how->output_max - how->output_min) * 256),
        [acc_shift] "r"(how->acc_shift + how->output_min * 256), [shift] "r"(how->output_shift - 1), [one] "r"(1),
        [top] "r"(how->output_max - how->output_zero_point)
      : "cc", "memory");
}

#endif
