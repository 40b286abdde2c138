/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "../loops.h"

#ifdef LUTRA_ARM_V7M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of naked functions */

/* Shifts to the right stop one short of output_shift + (multiplier >> 12): so 1 << it is the half that rounds, and the last
 * position comes free of charge with the next addition. */
#define LOAD "ldr %[record], [%[channels]], #4\nldr %[sum], [%[sums]], #4\n"
#define ADD_BIAS "sxth %[t], %[record]\nlsl %[t], %[t], %[bias]\nadd %[sum], %[sum], %[t]\n"
#define SCALE(multiply)                                                               \
  "asr %[sum], %[sum], %[acc_shift]\nubfx %[t], %[record], #16, #12\n"               \
  "add %[record], %[shift], %[record], lsr #28\n" multiply "asr %[sum], %[sum], %[record]\n"
#define MULTIPLY_WITHOUT_HALF "mul %[sum], %[sum], %[t]\nlsl %[t], %[one], %[record]\nadd %[sum], %[sum], %[t]\n"
#ifdef __ARM_FEATURE_DSP
#define MAX_BIAS_SHIFT 14u
#define BIAS (1u << how->bias_shift)
#define ADD_BIAS_TO(sum) "smlabb " sum ", r3, r8, " sum "\n"
#define SUMS(second) ADD_BIAS_TO("r12") second(ADD_BIAS_TO)
#else
#define MAX_BIAS_SHIFT 31u
#define BIAS (uint32_t)how->bias_shift
#define ADD_BIAS_TO(sum) "add " sum ", r4\n"
#define SUMS(second) "sxth r4, r3\nlsl r4, r4, r8\n" ADD_BIAS_TO("r12") second(ADD_BIAS_TO)
#endif

/* Apart from the rest, which needs no register for the sake of the call. */
LUTRA_OUT_OF_LINE static void requantize_limited(const lutra_requantization *how, const lutra_channel *channels,
                                                 const uint32_t *sums, uint32_t count, uint32_t pixels, int8_t *output,
                                                 uint32_t step) {
  for (; pixels > 0u; pixels--) {
    memset(output, -128, count);
    lutra_requantize_max_v7m(how, channels, sums, count, output);
    sums += count;
    output += step;
  }
}

/* Shifts take the lowest byte of a register: above acc_shift the number of channels - 1 is counted down. */
typedef struct {
  uint32_t between, step; /* bytes from the sums and outputs of a pixel to those of the next */
  uint32_t bias, counted_acc_shift, shift;
  int32_t zero_point;
} task;

/* Channel by channel, two an iteration, the first time one if they are odd: those of two pixels, or of one.
 * r0 records, r1 sums, r2 outputs, r3 free, r6-r11 the task, r4, r5, r12 and lr free. */
#define RECORD                                                                   \
  "ubfx r4, r3, #16, #12\n"                                                       \
  "add r3, r10, r3, lsr #28\n"                                                    \
  "mov r5, #1\n"                                                                  \
  "lsl r5, r5, r3\n"
#define ACC_SHIFT(sum) "asr " sum ", " sum ", r9\n"
#define SCALED(sum) "mla " sum ", " sum ", r4, r5\n"
#define SHIFTED(sum) "asr " sum ", " sum ", r3\n"
#define OFFSET(sum) "add " sum ", r11, " sum ", asr #1\n"
#define SATURATED(sum) "ssat " sum ", #8, " sum "\n"
#define LOAD_BOTH "ldr r3, [r0], #4\nldr lr, [r1, r6]\nldr r12, [r1], #4\n"
#define LOAD_ONE "ldr r3, [r0], #4\nldr r12, [r1], #4\n"
#define STORE_BOTH "strb lr, [r2, r7]\nstrb r12, [r2], #1\n"
#define STORE_ONE "strb r12, [r2], #1\n"
#define CHANNEL(load, store, second)                                                                      \
  load SUMS(second) ACC_SHIFT("r12") second(ACC_SHIFT) RECORD SCALED("r12") second(SCALED) SHIFTED("r12") \
  second(SHIFTED) OFFSET("r12") second(OFFSET) SATURATED("r12") second(SATURATED) store
#define SECOND(step) step("lr")
#define NO_SECOND(step)
#define CHANNELS(load, store, second)                \
  __asm__ volatile(".syntax unified\n"               \
                   "push {r4-r11, lr}\n"             \
                   "ldm r3, {r6-r11}\n"              \
                   "tst r9, #0x100\n"                \
                   "beq 2f\n"                        \
                   "1:\n" CHANNEL(load, store, second) \
                   "2:\n" CHANNEL(load, store, second) \
                   "subs r9, #0x200\n"               \
                   "bpl 1b\n"                        \
                   "pop {r4-r11, pc}\n")

LUTRA_NAKED static void requantize_pair(const lutra_channel *records, const uint32_t *sums, int8_t *output,
                                                   const task *what) {
  CHANNELS(LOAD_BOTH, STORE_BOTH, SECOND);
}

LUTRA_NAKED static void requantize_one(const lutra_channel *records, const uint32_t *sums, int8_t *output,
                                                  const task *what) {
  CHANNELS(LOAD_ONE, STORE_ONE, NO_SECOND);
}

void lutra_requantize_v7m(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums, uint32_t count,
                          uint32_t pixels, int8_t *output, uint32_t step) {
  if (how->output_min > -128 || how->output_max < 127 || how->bias_shift > MAX_BIAS_SHIFT) {
    requantize_limited(how, channels, sums, count, pixels, output, step);
    return;
  }
  const task what = {4u * count, step, BIAS, how->acc_shift + ((count - 1u) << 8), how->output_shift - 1u, how->output_zero_point};
  for (; pixels > 1u; pixels -= 2u) {
    requantize_pair(channels, sums, output, &what);
    sums += 2u * count;
    output += 2u * step;
  }
  if (pixels > 0u) {
    requantize_one(channels, sums, output, &what);
  }
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
