/* SPDX-License-Identifier: Apache-2.0 */
/* Types, status codes and the ABI number of the Lutra runtime. The arithmetic is in SPEC.md. */
#ifndef LUTRA_LUTRA_H
#define LUTRA_LUTRA_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "lutra/lutra_config.h"

#ifdef __AVR__
#error "Lutra does not run on AVR: tables are read from flash as they lie, which takes one address space for flash and RAM."
#endif
#if defined(__BYTE_ORDER__) && defined(__ORDER_BIG_ENDIAN__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#error "Lutra runs on little-endian processors only: the CRC-32 of a table is that of its bytes in this order."
#endif

#if INT_MAX < 2147483647
#error "Lutra needs an int of 32 bits: products of int8 and int16 values are computed in it."
#endif

/* Generated code refuses to compile against a runtime of another number. */
#define LUTRA_ABI_VERSION 6

#define LUTRA_OK 0
#define LUTRA_ERROR_NULL (-1)      /* a pointer that must not be NULL is NULL */
#define LUTRA_ERROR_ARENA (-2)     /* the arena is smaller than NAME_ARENA_BYTES */
#define LUTRA_ERROR_ALIGNMENT (-3) /* the arena is not aligned to LUTRA_ARENA_ALIGN bytes */
#define LUTRA_ERROR_CORRUPT (-4)   /* tables do not match their CRC-32 */

/* Alignment of an arena and of every buffer in it, in bytes. */
#define LUTRA_ARENA_ALIGN 4

/* Of the generated structs of tables, some of which kernels read as words. */
#if defined(__GNUC__)
#define LUTRA_ALIGNED __attribute__((aligned(4)))
#else
#define LUTRA_ALIGNED
#endif

#endif
