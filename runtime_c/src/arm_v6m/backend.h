/* SPDX-License-Identifier: Apache-2.0 */
/* Loops for Armv6-M and Armv8-M Baseline (Cortex-M0, M0+, M1, M23), in assembly where C costs more. */
#ifndef LUTRA_ARM_V6M_BACKEND_H
#define LUTRA_ARM_V6M_BACKEND_H

/* For assembly that needs r8-r11: r4-r7, whose own values are saved before, carry them. */
#define LUTRA_PUSH_R8_R11 \
  "mov r4, r8\n"          \
  "mov r5, r9\n"          \
  "mov r6, r10\n"         \
  "mov r7, r11\n"         \
  "push {r4-r7}\n"
#define LUTRA_POP_R8_R11  \
  "pop {r4-r7}\n"         \
  "mov r8, r4\n"          \
  "mov r9, r5\n"          \
  "mov r10, r6\n"         \
  "mov r11, r7\n"

lutra_build_pixel_tables_loop lutra_build_pixel_tables_v6m;
lutra_add_pixel_lookups_loop lutra_add_pixel_lookups_v6m;
#define lutra_build_pixel_tables lutra_build_pixel_tables_v6m
#define lutra_add_pixel_lookups lutra_add_pixel_lookups_v6m

lutra_build_tables_loop lutra_build_tables_v6m;
#define lutra_build_tables lutra_build_tables_v6m

lutra_add_lookups_loop lutra_add_lookups_v6m;
#define lutra_add_lookups lutra_add_lookups_v6m

lutra_requantize_loop lutra_requantize_v6m;
#define lutra_requantize lutra_requantize_v6m

lutra_patch_set_loop lutra_patch_set_v6m;
lutra_patch_dot_loop lutra_patch_dot_v6m;
#define lutra_patch_set lutra_patch_set_v6m
#define lutra_patch_dot lutra_patch_dot_v6m

lutra_dot_rows_loop lutra_dot_rows_v6m;
#define lutra_dot_rows lutra_dot_rows_v6m

lutra_decode_loop lutra_decode_v6m;
#define lutra_decode lutra_decode_v6m

lutra_depthwise_loop lutra_depthwise_v6m;
#define lutra_depthwise lutra_depthwise_v6m

#endif
