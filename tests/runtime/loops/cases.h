/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments of loops, at random, each with a word for the report. */
#ifndef LUTRA_TESTS_CASES_H
#define LUTRA_TESTS_CASES_H

#include <stdint.h>
#include <string.h>

#include "buffers.h"
#include "guarded_call.h"
#include "loops.h"
#include "random.h"
#include "report.h"

/* The implementation for this CPU. */
#define NATIVE(name) ((lutra_##name##_loop *)guarded((function)lutra_##name))

#define RUN(cases, loop)                                        \
  do {                                                          \
    for (uint32_t number_ = 0u; number_ < (cases); number_++) { \
      begin_case(#loop, number_);                               \
      loop(number_);                                            \
      end_case();                                               \
    }                                                           \
  } while (0)

/* Looks for changed registers and accesses outside buffers. */
void end_case(void);
void check_registers(void);

uint32_t pick(uint32_t low, uint32_t high); /* both included */

/* 1 .. limit; small counts as often as large ones. */
uint32_t pick_count(const char *name, uint32_t limit);

/* Whether buffers of so many bytes fit this board; a case that does not is left to the others. */
int fits(uint32_t bytes);

void describe_alignment(const char *name, const void *pointer);

/* Noise, extremes, or one value. */
int8_t *values(const char *name, uint32_t count);

/* The same, aligned to 4 half of the time. */
int8_t *output_of(uint32_t count);

/* Noise or extremes. */
uint32_t *sums_of(uint32_t count);

void *copy_of(const void *source, uint32_t bytes);

/* All sizes of codebooks and subvectors in CODINGS cases, common ones more often. */
enum { CODINGS = 192 };
void pick_coding(uint32_t number, uint32_t *codewords, uint32_t *d);

/* Codewords whose magnitudes add up to `limit` at most, half of them to just that if d allows it. */
int8_t *codebook_of(uint32_t codewords, uint32_t d, uint32_t limit);

int8_t *corrupt_codebook(uint32_t codewords, uint32_t d);

/* All index widths, sizes and counts of indices in a group in 96 cases. */
typedef struct {
  uint32_t index_bits, codewords, count, rows, row_bytes;
} group;
group pick_group(uint32_t number);

/* Every other 96 cases have indices beyond the codewords. What is unused in a byte is noise. */
uint8_t *indices_of(group shape, uint32_t number);

/* Requantization by so many channels: as the compiler chooses them (kind 0), near the ties of rounding (1), or noise (2). Kinds 0
 * and 1 keep the promises of SPEC.md, section 2. */
typedef struct {
  lutra_requantization how;
  lutra_channel *channels;
} requantization;
requantization pick_requantization(uint32_t kind, uint32_t channels);
uint32_t pick_sum(uint32_t kind);

/* The tests of loops.h and loops8.h. */
void test_loops(void);
void test_loops8(void);

#endif
