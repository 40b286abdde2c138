/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_V7M_BACKEND_H

#pragma GCC diagnostic ignored "-Wunused-parameter" /* of naked functions */

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
  uint32_t input_rewind, weights_rewind; /* from below the window to the next four channels */
  uint32_t rows;                         /* + 0x80000000 where the window is 2 wide, 0xC0000000 where it is 1 */
  uint32_t input_stride, weights_stride;
} window;

/* Up to three taps wide. r1 channels, r3 rows, r10 and r11 strides; at sp: the window but for strides. */
__attribute__((naked)) static void add_window(const int8_t *input, uint32_t channels, const int8_t *weights, const window *what) {
  __asm__ volatile(".syntax unified\n"
                   "push {r4-r11, lr}\n"
                   "ldm r3, {r5-r11}\n"
                   "push {r5-r9}\n"
                   "mov lr, r5\n"
                   "mov r3, r9\n"
                   "1: ldm lr, {r4-r7}\n"
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
                   "ldr r8, [sp, #8]\n"
                   "ldr r9, [sp, #12]\n"
                   "ldr r3, [sp, #16]\n"
                   "stm lr!, {r4-r7}\n"
                   "subs r0, r0, r8\n"
                   "subs r2, r2, r9\n"
                   "str lr, [sp]\n"
                   "cmp lr, r12\n"
                   "bne 1b\n"
                   "add sp, #20\n"
                   "pop {r4-r11, pc}\n");
}

void lutra_depthwise_v7m(const int8_t *input, uint32_t input_stride, const int8_t *weights, uint32_t weights_stride,
                         uint32_t height, uint32_t width, uint32_t channels, uint32_t *sums) {
  for (uint32_t taps; width > 0u; width -= taps) {
    taps = width < 3u ? width : 3u;
    uint32_t *const end = sums + channels / 4u * 4u;
    if (end > sums) {
      const window what = {sums, end, height * input_stride - 4u, height * weights_stride - 4u,
                           height + (taps == 3u ? 0u : (4u - taps) << 30), input_stride, weights_stride};
      add_window(input, channels, weights, &what);
    }
    for (uint32_t c = channels / 4u * 4u; c < channels; c++) {
      for (uint32_t y = 0u; y < height; y++) {
        for (uint32_t x = 0u; x < taps; x++) {
          sums[c] += (uint32_t)(input[y * input_stride + x * channels + c] * weights[y * weights_stride + x * channels + c]);
        }
      }
    }
    input += taps * channels;
    weights += taps * channels;
  }
}

#endif
