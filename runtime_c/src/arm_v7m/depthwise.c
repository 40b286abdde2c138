/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V7M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of naked functions */

/* Lines of windows 3 x 3 a pixel apart: channel by channel, with the weights in registers. Other windows: pixel by pixel, four channels
 * at a time. */

/* Four channels of one tap. r0 input, r2 weights, `at` from there; r4-r7 sums, r8, r9, r12, lr free. */
#if defined(__ARM_FEATURE_DSP)
#define TAP(at)                                          \
  "ldr r8, [r0" at "]\nldr r9, [r2" at "]\n"             \
  "sxtb16 r12, r8\nsxtb16 lr, r9\n"                      \
  "sxtb16 r8, r8, ror #8\nsxtb16 r9, r9, ror #8\n"       \
  "smlabb r4, r12, lr, r4\nsmlatt r6, r12, lr, r6\n"     \
  "smlabb r5, r8, r9, r5\nsmlatt r7, r8, r9, r7\n"
#else
#define PRODUCT(sum, expand) expand("r12", "r8") expand("lr", "r9") "mla " sum ", r12, lr, " sum "\n"
#define BYTE_0(byte, word) "sxtb " byte ", " word "\n"
#define BYTE_1(byte, word) "sbfx " byte ", " word ", #8, #8\n"
#define BYTE_2(byte, word) "sbfx " byte ", " word ", #16, #8\n"
#define BYTE_3(byte, word) "asr " byte ", " word ", #24\n"
#define TAP(at)                              \
  "ldr r8, [r0" at "]\nldr r9, [r2" at "]\n" \
  PRODUCT("r4", BYTE_0) PRODUCT("r5", BYTE_1) PRODUCT("r6", BYTE_2) PRODUCT("r7", BYTE_3)
#endif

typedef struct {
  uint32_t *sums, *end;
  const uint32_t *begin; /* what sums begin with */
  uint32_t input_rewind, weights_rewind; /* from below the window to the next four channels */
  uint32_t rows;                         /* + 0x80000000 where the window is 2 wide, 0xC0000000 where it is 1 */
  uint32_t input_stride, weights_stride;
} window;

/* Up to three taps wide: sets sums. r1 channels, r3 rows, r10 and r11 strides; at sp: the window but for strides. */
LUTRA_NAKED static void sum_window(const int8_t *input, uint32_t channels, const int8_t *weights, const window *what) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "ldm r3, {r4-r11}\n"
                   "push {r4-r9}\n"
                   "mov lr, r6\n"
                   "mov r3, r9\n"
                   "1: ldm lr!, {r4-r7}\n"
                   "str lr, [sp, #8]\n"
                   "cmp r3, #0\n"
                   "bgt 4f\n"
                   "2: lsls r8, r3, #2\n"
                   "beq 7f\n"
                   "bcs 6f\n"
                   "b 5f\n"
                   "4:\n" TAP(", r1, lsl #1")
                   "5:\n" TAP(", r1")
                   "6:\n" TAP("")
                   "add r0, r10\n"
                   "add r2, r11\n"
                   "subs r3, #1\n"
                   "bgt 4b\n"
                   "bmi 2b\n"
                   "7: ldr lr, [sp]\n"
                   "ldr r12, [sp, #4]\n"
                   "ldr r8, [sp, #12]\n"
                   "ldr r9, [sp, #16]\n"
                   "ldr r3, [sp, #20]\n"
                   "stm lr!, {r4-r7}\n"
                   "subs r0, r0, r8\n"
                   "subs r2, r2, r9\n"
                   "str lr, [sp]\n"
                   "cmp lr, r12\n"
                   "ldr lr, [sp, #8]\n"
                   "bne 1b\n"
                   "add sp, #24\n"
                   "pop {r4-r11, pc}\n");
}

/* The sums of a window: of the first channels / 4 * 4 channels by sum_window, of a wide window in parts, of the others one by one. */
LUTRA_OUT_OF_LINE static void sum_pixel(const lutra_windows *windows, const int8_t *input) {
  const uint32_t channels = windows->channels, height = windows->height, width = windows->width, row = windows->row;
  const uint32_t weights_row = width * channels;
  uint32_t *const sums = windows->sums, *const end = sums + channels / 4u * 4u;
  window what = {sums, end, windows->begin, height * row - 4u, height * weights_row - 4u, 0u, row, weights_row};
  for (uint32_t x = 0u; x < width && sums < end; x += 3u) {
    const uint32_t taps = width - x;
    what.rows = height + (taps >= 3u ? 0u : (4u - taps) << 30);
    sum_window(input + x * channels, channels, windows->weights + x * channels, &what);
    what.begin = sums;
  }
  for (uint32_t c = channels / 4u * 4u; c < channels; c++) {
    const int8_t *in = input + c, *weights = windows->weights + c;
    uint32_t sum = windows->begin[c];
    for (uint32_t y = height; y > 0u; y--) {
      for (uint32_t x = 0u; x < weights_row; x += channels) {
        sum += (uint32_t)(in[x] * weights[x]);
      }
      in += row;
      weights += weights_row;
    }
    sums[c] = sum;
  }
}

/* A line of a channel: three values, `across` apart, a position; `along` leads to the next one. Each position is the last of the window
 * that it completes, the middle of the next one and the first of the one after that. The first two windows begin before the line. */
#define LINE 32u
#define SHORT_LINE 6u /* not worth the effort */
#define BEFORE 2u
#if defined(__ARM_FEATURE_DSP)
typedef struct {
  uint32_t pairs[3]; /* of the weights of a position, by its place in the window: the first two */
  uint32_t thirds, last_third; /* the third one of the first two places; of the last one, and the number of positions - 1 above it */
  uint32_t across, along;
  uint32_t *sums;
  uint32_t positions;
} line;

#define POSITION                                                                     \
  "ldrsb r9, [r0]\nldrsb r10, [r0, r6]\nldrsb r11, [r0, r6, lsl #1]\n"                \
  "add r0, r7\npkhbt r9, r9, r10, lsl #16\n"                                          \
  "smlad r12, r9, r3, r12\nsmlabb r12, r11, r5, r12\nstr r12, [r8], #4\n"             \
  "smlad r12, r9, r2, lr\nsmuad lr, r9, r1\n"                                         \
  "smlabt r12, r11, r4, r12\nsmlabb lr, r11, r4, lr\n"

/* r0 the position; r1-r8 the line; r9-r11 values; r12 and lr sums under way. Two positions an iteration, the first time one if they
 * are odd. */
LUTRA_NAKED static void sum_positions(const int8_t *x, const line *what) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "ldm r1, {r1-r8}\n"
                   "movs r12, #0\n"
                   "mov lr, r12\n"
                   "lsrs r9, r5, #17\n" /* carry: an odd number - 1 */
                   "bcs 1f\n"
                   "add r5, #0x10000\n"
                   "b 2f\n"
                   "1:\n" POSITION "2:\n" POSITION
                   "subs r5, #0x20000\n"
                   "bhs 1b\n"
                   "pop {r4-r11, pc}\n");
}

static uint32_t halves(int32_t low, int32_t high) { return (uint32_t)(uint16_t)low | (uint32_t)high << 16; }

LUTRA_OUT_OF_LINE static void set_weights(line *what, const int8_t *w, uint32_t next_along, uint32_t next_across) {
  const int8_t *const second = w + next_across, *const third = second + next_across;
  for (uint32_t i = 0u, at = 0u; i < 3u; i++, at += next_along) {
    what->pairs[i] = halves(w[at], second[at]);
  }
  what->thirds = halves(third[0], third[next_along]);
  what->last_third = halves(third[2u * next_along], (int32_t)(what->positions - 1u));
}
#else
typedef struct {
  uint32_t across, along;
  uint32_t *sums;
  uint32_t positions;
  int32_t weights[9]; /* of a position that is the last of its window, of the middle one and of the first one */
} line;

#define WEIGHTS(at) "ldr r8, [lr, #" #at "]\nldr r9, [lr, #" #at " + 4]\nldr r10, [lr, #" #at " + 8]\n"
#define POSITION                                                                    \
  "ldrsb r5, [r0]\nldrsb r6, [r0, r1]\nldrsb r7, [r0, r1, lsl #1]\n" WEIGHTS(0)      \
  "add r0, r2\nmla r11, r5, r8, r11\nmla r11, r6, r9, r11\nmla r11, r7, r10, r11\n"  \
  "str r11, [r3], #4\n" WEIGHTS(12)                                                 \
  "mla r11, r5, r8, r12\nmla r11, r6, r9, r11\nmla r11, r7, r10, r11\n" WEIGHTS(24)  \
  "mul r12, r5, r8\nmla r12, r6, r9, r12\nmla r12, r7, r10, r12\n"

/* r0 the position, r1-r4 the line, r5-r7 values, r8-r10 weights, r11 and r12 sums under way, lr all weights. */
LUTRA_NAKED static void sum_positions(const int8_t *x, const line *what) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "add lr, r1, #16\n"
                   "ldm r1, {r1-r4}\n"
                   "movs r11, #0\n"
                   "mov r12, r11\n"
                   "1:\n" POSITION
                   "subs r4, #1\n"
                   "bne 1b\n"
                   "pop {r4-r11, pc}\n");
}

LUTRA_OUT_OF_LINE static void set_weights(line *what, const int8_t *w, uint32_t next_along, uint32_t next_across) {
  for (uint32_t i = 9u; i > 0u; i -= 3u) {
    what->weights[i - 3u] = w[0];
    what->weights[i - 2u] = w[next_across];
    what->weights[i - 1u] = w[2u * next_across];
    w += next_along;
  }
}
#endif

/* Outputs of one channel, `step` apart, two an iteration, the first time one if they are odd. As in requantize.c the last position of
 * the shift comes with the next addition. */
LUTRA_OUT_OF_LINE static void requantize_line(const lutra_requantization *how, lutra_channel channel, uint32_t begin,
                                              const uint32_t *sums, uint32_t count, int8_t *output, uint32_t step) {
  const uint32_t shift = how->output_shift + ((uint32_t)channel.multiplier >> 12) - 1u;
  uint32_t sum;
#define OUTPUT                                                                                  \
  "ldr %[sum], [%[sums]], #4\nadd %[sum], %[sum], %[bias]\nasr %[sum], %[sum], %[acc_shift]\n"  \
  "mul %[sum], %[sum], %[multiplier]\nasr %[sum], %[sum], %[shift]\n"                           \
  "add %[sum], %[sum], %[rounding]\nssat %[sum], #8, %[sum], asr #1\n"                          \
  "strb %[sum], [%[output]]\nadd %[output], %[output], %[step]\n"
  __asm__ volatile("adds %[count], %[count], #1\n"
                   "lsrs %[count], %[count], #1\n"
                   "bcc 2f\n"
                   "1:\n" OUTPUT "2:\n" OUTPUT
                   "subs %[count], %[count], #1\n"
                   "bne 1b\n"
                   : [sums] "+r"(sums), [output] "+r"(output), [count] "+r"(count), [sum] "=&r"(sum)
                   : [bias] "r"(begin + ((uint32_t)channel.bias << how->bias_shift)), [acc_shift] "r"((uint32_t)how->acc_shift),
                     [multiplier] "r"(channel.multiplier & 0x0FFFu), [shift] "r"(shift),
                     [rounding] "r"(2 * how->output_zero_point + 1), [step] "r"(step)
                   : "cc", "memory");
}

void lutra_depthwise_v7m(const lutra_windows *windows, const int8_t *input, uint32_t pixels, int8_t *output) {
  const uint32_t channels = windows->channels, along = windows->input_step, row = windows->row;
  if (windows->height != 3u || windows->width != 3u || pixels < SHORT_LINE || (along != channels && along != row)) {
    for (; pixels > 0u; pixels--) {
      sum_pixel(windows, input);
      lutra_requantize_v7m(windows->how, windows->records, windows->sums, channels, 1u, output, 0u);
      input += along;
      output += windows->output_step;
    }
    return;
  }
  const uint32_t across = along == channels ? row : channels;
  const uint32_t next_across = along == channels ? 3u * channels : channels, next_along = 4u * channels - next_across;
  const uint32_t step = windows->output_step;
  uint32_t sums[BEFORE + LINE];
  line what;
  what.across = across;
  what.along = along;
  what.sums = sums;
  for (uint32_t count; pixels > 0u; pixels -= count) {
    count = pixels < LINE ? pixels : LINE;
    what.positions = count + BEFORE;
    for (uint32_t c = 0u; c < channels; c++) {
      set_weights(&what, windows->weights + c, next_along, next_across);
      sum_positions(input + c, &what);
      requantize_line(windows->how, windows->records[c], windows->begin[c], sums + BEFORE, count, output + c, step);
    }
    input += count * along;
    lutra_limit_v7m(windows->how, output, channels, count, step);
    output += count * step;
  }
}

#endif
