/* SPDX-License-Identifier: Apache-2.0 */
/* Loops for Armv7-M and Armv8-M Mainline (Cortex-M3, M4, M7, M33), with the DSP extension where there is one. */
#ifndef LUTRA_ARM_V7M_BACKEND_H
#define LUTRA_ARM_V7M_BACKEND_H

lutra_build_tables_loop lutra_build_tables_v7m;
#define lutra_build_tables lutra_build_tables_v7m
lutra_add_lookups_loop lutra_add_lookups_v7m;
#define lutra_add_lookups lutra_add_lookups_v7m
lutra_build_pair_tables_loop lutra_build_pair_tables_v7m;
#define lutra_build_pair_tables lutra_build_pair_tables_v7m
lutra_add_pair_lookups_loop lutra_add_pair_lookups_v7m;
#define lutra_add_pair_lookups lutra_add_pair_lookups_v7m
lutra_build_pixel_tables_loop lutra_build_pixel_tables_v7m;
#define lutra_build_pixel_tables lutra_build_pixel_tables_v7m
lutra_add_pixel_lookups_loop lutra_add_pixel_lookups_v7m;
#define lutra_add_pixel_lookups lutra_add_pixel_lookups_v7m
lutra_requantize_loop lutra_requantize_v7m;
#define lutra_requantize lutra_requantize_v7m
/* Clamps output[p * step + n] for n < count, p < pixels. */
void lutra_limit_v7m(const lutra_requantization *how, int8_t *output, uint32_t count, uint32_t pixels, uint32_t step);
lutra_patch_set_loop lutra_patch_set_v7m;
#define lutra_patch_set lutra_patch_set_v7m
lutra_patch_dot_loop lutra_patch_dot_v7m;
#define lutra_patch_dot lutra_patch_dot_v7m
lutra_dot_rows_loop lutra_dot_rows_v7m;
#define lutra_dot_rows lutra_dot_rows_v7m
lutra_decode_loop lutra_decode_v7m;
#define lutra_decode lutra_decode_v7m
lutra_depthwise_loop lutra_depthwise_v7m;
#define lutra_depthwise lutra_depthwise_v7m

#endif
