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
#define ADD_BIAS "sxth r4, r3\nmla r12, r4, r8, r12\nmla lr, r4, r8, lr\n"
#else
#define BIAS(shift) (uint32_t)(shift)
#define ADD_BIAS "sxth r4, r3\nlsl r4, r4, r8\nadd r12, r4\nadd lr, r4\n"
#endif
#define CHANNEL                                                                                                 \
  "ldr r3, [r0], #4\nldr lr, [r1, r6]\nldr r12, [r1], #4\n" ADD_BIAS "asr r12, r12, r9\nasr lr, lr, r9\n"        \
  "ubfx r4, r3, #16, #12\nadd r3, r10, r3, lsr #28\nmov r5, #1\nlsl r5, r5, r3\nmla r12, r12, r4, r5\n"          \
  "mla lr, lr, r4, r5\nasr r12, r12, r3\nasr lr, lr, r3\nadd r12, r11, r12, asr #1\nadd lr, r11, lr, asr #1\n"   \
  "ssat r12, #8, r12\nssat lr, #8, lr\nstrb lr, [r2, r7]\nstrb r12, [r2], #1\n"

/* Channel by channel of two pixels, or twice of one, two an iteration, the first time one if they are odd.
 * r0 records, r1 sums, r2 outputs, r3 free, r6-r11 the task, r4, r5, r12 and lr free. */
LUTRA_NAKED static void requantize_pair(const lutra_channel *records, const uint32_t *sums, int8_t *output, const task *what) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "ldm r3, {r6-r11}\n"
                   "tst r9, #0x100\n"
                   "beq 2f\n"
                   "1:\n" CHANNEL "2:\n" CHANNEL
                   "subs r9, #0x200\n"
                   "bpl 1b\n"
                   "pop {r4-r11, pc}\n");
}

void lutra_limit_v7m(const lutra_requantization *how, int8_t *output, uint32_t count, uint32_t step) {
  const int8_t least = how->output_min, greatest = how->output_max;
  if (least == -128 && greatest == 127) {
    return;
  }
  do {
    *output = lutra_clamp(*output, least, greatest);
    output += step;
  } while (--count > 0u);
}

void lutra_requantize_v7m(const lutra_requantization *how, const lutra_channel *channels, const uint32_t *sums, uint32_t count,
                          uint32_t pixels, int8_t *output, uint32_t step) {
  task what = {4u * count, step, BIAS(how->bias_shift), how->acc_shift + ((count - 1u) << 8), how->output_shift - 1u,
               how->output_zero_point};
  int8_t *to = output;
  for (uint32_t left = pixels; left > 0u; left--) {
    if (left == 1u) {
      what.between = what.step = 0u;
    } else {
      left--;
    }
    requantize_pair(channels, sums, to, &what);
    sums += 2u * count;
    to += 2u * step;
  }
  if (step == count) {
    lutra_limit_v7m(how, output, pixels * count, 1u);
  } else {
    do {
      lutra_limit_v7m(how, output, count, 1u);
      output += step;
    } while (--pixels > 0u);
  }
}

#endif
