/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V7M_BACKEND_H
#include "../scale.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of naked functions */

/* Shifts take the lowest byte of a register: above acc_shift the number of channels - 1 is counted down. */
typedef struct {
  uint32_t between, step; /* bytes from the sums and outputs of a pixel to those of the next */
  uint32_t bias, counted_acc_shift, shift;
  int32_t rounding;
} task;

/* Shifts to the right stop one short of output_shift + (multiplier >> 12). The last position comes free of charge with saturation,
 * after twice the zero point, and 1 which rounds, have been added. */
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
#define SCALE(sum) "mul " sum ", " sum ", r4\n"
#define SHIFT(sum) "asr " sum ", " sum ", r3\n"
#define ROUND(sum) "add " sum ", r11\n"
#define SATURATE(sum) "ssat " sum ", #8, " sum ", asr #1\n"
#define ONE(step) step("r12")
#define BOTH(step) step("r12") step("lr")
#define CHANNEL(load, sums, store)                                                                                    \
  "ldr r3, [r0], #4\n" load "ldr r12, [r1], #4\n" ADD_BIAS(sums) sums(ACC_SHIFT)                                      \
  "ubfx r4, r3, #16, #12\nadd r3, r10, r3, lsr #28\n" sums(SCALE) sums(SHIFT) sums(ROUND)                            \
  sums(SATURATE) store "strb r12, [r2], #1\n"

/* Channel by channel of two pixels, or of one, if `between` is 0.
 * r0 records, r1 sums, r2 outputs, r6-r11 the task, r3, r4, r12 and lr free. */
LUTRA_NAKED static void requantize_pair(const lutra_channel *records, const uint32_t *sums, int8_t *output, const task *what) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "ldm r3, {r6-r11}\n"
                   "cbz r6, 2f\n"
                   "1:\n" CHANNEL("ldr lr, [r1, r6]\n", BOTH, "strb lr, [r2, r7]\n")
                   "subs r9, #0x100\n"
                   "bpl 1b\n"
                   "pop {r4-r11, pc}\n"
                   "2:\n" CHANNEL("", ONE, "")
                   "subs r9, #0x100\n"
                   "bpl 2b\n"
                   "pop {r4-r11, pc}\n");
}

void lutra_limit_v7m(const lutra_requantization *how, int8_t *output, uint32_t count, uint32_t pixels, uint32_t step) {
  const int8_t minimum = how->output_min, maximum = how->output_max;
  if (minimum == INT8_MIN && maximum == INT8_MAX) {
    return;
  }
  for (; pixels > 0u; pixels--) {
    for (uint32_t n = 0u; n < count; n++) {
      output[n] = lutra_clamp(output[n], minimum, maximum);
    }
    output += step;
  }
}

void lutra_requantize_v7m(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums, uint32_t count,
                          uint32_t pixels, int8_t *output, uint32_t step) {
  task what = {4u * count, step, BIAS(how->bias_shift), how->acc_shift + ((count - 1u) << 8), how->output_shift - 1u,
               2 * how->output_zero_point + 1};
  int8_t *to = output;
  for (uint32_t p = 0u; p < pixels; p += 2u) {
    if (p + 1u == pixels) {
      what.between = 0u;
    }
    requantize_pair(channels, sums, to, &what);
    sums += 2u * count;
    to += 2u * step;
  }
  lutra_limit_v7m(how, output, count, pixels, step);
}

#endif
