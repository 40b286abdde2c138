/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of loops8.h for Armv8.1-M with Helium. */
#ifndef LUTRA_ARM_MVE_BACKEND8_H
#define LUTRA_ARM_MVE_BACKEND8_H

lutra_build_tables8_loop lutra_build_tables8_mve;
#define lutra_build_tables8 lutra_build_tables8_mve
lutra_expand8_loop lutra_expand8_mve;
#define lutra_expand8 lutra_expand8_mve
lutra_clear8_loop lutra_clear8_mve;
#define lutra_clear8 lutra_clear8_mve
lutra_add_lookups8_loop lutra_add_lookups8_mve;
#define lutra_add_lookups8 lutra_add_lookups8_mve
lutra_requantize8_loop lutra_requantize8_mve;
#define lutra_requantize8 lutra_requantize8_mve

#endif
