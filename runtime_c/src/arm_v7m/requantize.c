/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V7M_BACKEND_H
#include "../scale.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of naked functions */

/* Shifts take the lowest byte of a register: above acc_shift the number of channels - 1 is counted down. */
typedef struct {
  uint32_t between, step; /* bytes from the sums and outputs of a pixel to those of the next */
  uint32_t bias, counted_acc_shift, shift;
  int32_t zero_point;
} task;

/* Shifts to the right stop one short of output_shift + (multiplier >> 12): so 1 << it is the half that rounds, and the last
 * position comes free of charge with the next addition. */
#ifdef __ARM_FEATURE_DSP
#define BIAS(shift) (1u << (shift))
#define ADD_BIAS_TO(sum) "mla " sum ", r4, r8, " sum "\n"
#define ADD_BIAS(both) "sxth r4, r3\n" both(ADD_BIAS_TO)
#else
#define BIAS(shift) (uint32_t)(shift)
#define ADD_BIAS_TO(sum) "add " sum ", r4\n"
#define ADD_BIAS(both) "sxth r4, r3\nlsl r4, r4, r8\n" both(ADD_BIAS_TO)
#endif
#define ACC_SHIFT(sum) "asr " sum ", " sum ", r9\n"
#define SCALE(sum) "mla " sum ", " sum ", r4, r5\n"
#define SHIFT(sum) "asr " sum ", " sum ", r3\n"
#define OFFSET(sum) "add " sum ", r11, " sum ", asr #1\n"
#define SATURATE(sum) "ssat " sum ", #8, " sum "\n"
#define ONE(step) step("r12")
#define BOTH(step) step("r12") step("lr")
#define CHANNEL(load, sums, store)                                                                                    \
  "ldr r3, [r0], #4\n" load "ldr r12, [r1], #4\n" ADD_BIAS(sums) sums(ACC_SHIFT)                                      \
  "ubfx r4, r3, #16, #12\nadd r3, r10, r3, lsr #28\nmov r5, #1\nlsl r5, r5, r3\n" sums(SCALE) sums(SHIFT) sums(OFFSET) \
  sums(SATURATE) store "strb r12, [r2], #1\n"
#define CHANNEL_OF_BOTH CHANNEL("ldr lr, [r1, r6]\n", BOTH, "strb lr, [r2, r7]\n")

/* Channel by channel of two pixels, two an iteration, the first time one if they are odd; or of one pixel, if `between` is 0.
 * r0 records, r1 sums, r2 outputs, r3 free, r6-r11 the task, r4, r5, r12 and lr free. */
LUTRA_NAKED static void requantize_pair(const lutra_channel *records, const uint32_t *sums, int8_t *output, const task *what) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "ldm r3, {r6-r11}\n"
                   "cmp r6, #0\n"
                   "beq 3f\n"
                   "tst r9, #0x100\n"
                   "beq 2f\n"
                   "1:\n" CHANNEL_OF_BOTH "2:\n" CHANNEL_OF_BOTH
                   "subs r9, #0x200\n"
                   "bpl 1b\n"
                   "pop {r4-r11, pc}\n"
                   "3:\n" CHANNEL("", ONE, "")
                   "subs r9, #0x100\n"
                   "bpl 3b\n"
                   "pop {r4-r11, pc}\n");
}

void lutra_limit_v7m(const lutra_requantization *how, int8_t *output, uint32_t count, uint32_t pixels, uint32_t step) {
  if (how->output_min == -128 && how->output_max == 127) {
    return;
  }
  do {
    for (uint32_t n = 0u; n < count; n++) {
      output[n] = lutra_clamp(output[n], how->output_min, how->output_max);
    }
    output += step;
  } while (--pixels > 0u);
}

void lutra_requantize_v7m(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums, uint32_t count,
                          uint32_t pixels, int8_t *output, uint32_t step) {
  task what = {4u * count, step, BIAS(how->bias_shift), how->acc_shift + ((count - 1u) << 8), how->output_shift - 1u,
               how->output_zero_point};
  int8_t *to = output;
  for (int32_t left = (int32_t)pixels; left > 0; left -= 2) {
    if (left == 1) {
      what.between = 0u;
    }
    requantize_pair(channels, sums, to, &what);
    sums += 2u * count;
    to += 2u * step;
  }
  if (how->output_min > -128 || how->output_max < 127) {
    lutra_limit_v7m(how, output, count, pixels, step);
  }
}

#endif
