/* SPDX-License-Identifier: Apache-2.0 */
/* Loops for Armv8.1-M with Helium (Cortex-M55, M85): integer MVE. */
#ifndef LUTRA_ARM_MVE_BACKEND_H
#define LUTRA_ARM_MVE_BACKEND_H

lutra_build_tables_loop lutra_build_tables_mve;
#define lutra_build_tables lutra_build_tables_mve
lutra_add_lookups_loop lutra_add_lookups_mve;
#define lutra_add_lookups lutra_add_lookups_mve
lutra_build_pair_tables_loop lutra_build_pair_tables_mve;
#define lutra_build_pair_tables lutra_build_pair_tables_mve
lutra_add_pair_lookups_loop lutra_add_pair_lookups_mve;
#define lutra_add_pair_lookups lutra_add_pair_lookups_mve
lutra_patch_set_loop lutra_patch_set_mve;
#define lutra_patch_set lutra_patch_set_mve
lutra_patch_dot_loop lutra_patch_dot_mve;
#define lutra_patch_dot lutra_patch_dot_mve
lutra_dot_rows_loop lutra_dot_rows_mve;
#define lutra_dot_rows lutra_dot_rows_mve
lutra_decode_loop lutra_decode_mve;
#define lutra_decode lutra_decode_mve
lutra_depthwise_loop lutra_depthwise_mve;
#define lutra_depthwise lutra_depthwise_mve
lutra_requantize_loop lutra_requantize_mve;
#define lutra_requantize lutra_requantize_mve

#endif
