/* SPDX-License-Identifier: Apache-2.0 */
/* Loops for Armv6-M and Armv8-M Baseline (Cortex-M0, M0+, M1, M23), in assembly where C costs more. */
#ifndef LUTRA_ARM_V6M_BACKEND_H
#define LUTRA_ARM_V6M_BACKEND_H

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
