/* SPDX-License-Identifier: Apache-2.0 */
#include "guarded_call.h"

#include <stddef.h>
#include <stdint.h>

/* r4-r11, then sp, as they have to be after the call. */
enum { REGISTERS = 9, FLOATS = 16 };

static struct {
  uint32_t saved[REGISTERS + 1]; /* of our caller, and lr */
  uint32_t before[REGISTERS], after[REGISTERS];
  function loop;
} guard __asm__("loop_guard") __attribute__((used));

#if defined(__ARM_FP)
static struct {
  uint32_t saved[FLOATS], before[FLOATS], after[FLOATS]; /* s16-s31 */
} floats __asm__("loop_floats") __attribute__((used));
#define SET_FLOATS "ldr r5, =loop_floats\nvstmia r5!, {s16-s31}\nvldmia r5, {s16-s31}\n"
#define GET_FLOATS "ldr r0, =loop_floats + 128\nvstmia r0, {s16-s31}\nsubs r0, r0, #128\nvldmia r0, {s16-s31}\n"
#else
#define SET_FLOATS
#define GET_FLOATS
#endif

/* Keeps nothing on the stack, where the loop finds its fifth argument. Offsets are those of `guard`. */
__attribute__((naked)) static void call(void) {
  __asm__(".syntax unified\n"
          "mov r12, r4\n"
          "ldr r4, =loop_guard\n"
          "str r5, [r4, #4]\nstr r6, [r4, #8]\nstr r7, [r4, #12]\n"
          "mov r5, r12\nstr r5, [r4]\n"
          "mov r5, r8\nstr r5, [r4, #16]\n"
          "mov r5, r9\nstr r5, [r4, #20]\n"
          "mov r5, r10\nstr r5, [r4, #24]\n"
          "mov r5, r11\nstr r5, [r4, #28]\n"
          "mov r5, sp\nstr r5, [r4, #32]\nstr r5, [r4, #72]\n"
          "mov r5, lr\nstr r5, [r4, #36]\n" SET_FLOATS
          "ldr r5, [r4, #112]\nmov r12, r5\n"
          "ldr r5, [r4, #56]\nmov r8, r5\n"
          "ldr r5, [r4, #60]\nmov r9, r5\n"
          "ldr r5, [r4, #64]\nmov r10, r5\n"
          "ldr r5, [r4, #68]\nmov r11, r5\n"
          "ldr r5, [r4, #44]\nldr r6, [r4, #48]\nldr r7, [r4, #52]\nldr r4, [r4, #40]\n"
          "blx r12\n"
          "ldr r0, =loop_guard + 76\n"
          "str r4, [r0]\nstr r5, [r0, #4]\nstr r6, [r0, #8]\nstr r7, [r0, #12]\n"
          "mov r1, r8\nstr r1, [r0, #16]\n"
          "mov r1, r9\nstr r1, [r0, #20]\n"
          "mov r1, r10\nstr r1, [r0, #24]\n"
          "mov r1, r11\nstr r1, [r0, #28]\n"
          "mov r1, sp\nstr r1, [r0, #32]\n" GET_FLOATS
          "ldr r0, =loop_guard\n"
          "ldr r1, [r0, #16]\nmov r8, r1\n"
          "ldr r1, [r0, #20]\nmov r9, r1\n"
          "ldr r1, [r0, #24]\nmov r10, r1\n"
          "ldr r1, [r0, #28]\nmov r11, r1\n"
          "ldr r1, [r0, #32]\nmov sp, r1\n"
          "ldr r4, [r0]\nldr r5, [r0, #4]\nldr r6, [r0, #8]\nldr r7, [r0, #12]\n"
          "ldr r0, [r0, #36]\n"
          "bx r0\n"
          ".ltorg\n");
}

function guarded(function loop) {
  guard.loop = loop;
  for (uint32_t i = 0u; i < REGISTERS - 1u; i++) {
    guard.before[i] = 0x5EED0401u * (i + 1u);
  }
#if defined(__ARM_FP)
  for (uint32_t i = 0u; i < FLOATS; i++) {
    floats.before[i] = 0x3F801001u * (i + 1u);
  }
#endif
  return call;
}

const char *changed_register(void) {
  static const char *const names[REGISTERS] = {"r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "sp"};
  for (uint32_t i = 0u; i < REGISTERS; i++) {
    if (guard.after[i] != guard.before[i]) {
      return names[i];
    }
  }
#if defined(__ARM_FP)
  for (uint32_t i = 0u; i < FLOATS; i++) {
    if (floats.after[i] != floats.before[i]) {
      return "one of s16-s31";
    }
  }
#endif
  return NULL;
}

__attribute__((naked)) static void change_r7(void) { __asm__("movs r7, #0\nbx lr\n"); }

__attribute__((naked)) static void change_r11(void) { __asm__("mov r11, r0\nbx lr\n"); }

int guard_works(void) {
  guarded(change_r7)();
  const char *const low = changed_register();
  guarded(change_r11)();
  const char *const high = changed_register();
  return low != NULL && low[1] == '7' && high != NULL && high[2] == '1';
}
