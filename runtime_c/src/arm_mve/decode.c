/* SPDX-License-Identifier: Apache-2.0 */
#include "../loops.h"

#ifdef LUTRA_ARM_MVE_BACKEND_H
#include <arm_mve.h>

/* The indices, in 32-bit lanes, that subvectors of a row have. */
static inline uint32x4_t indices_of(const lutra_codes *codes, const uint8_t *row, uint32x4_t subvectors, mve_pred16_t present) {
  if (codes->index_bits == 8u) {
    return vldrbq_gather_offset_z_u32(row, subvectors, present);
  }
  const uint32x4_t bytes = vldrbq_gather_offset_z_u32(row, vshrq_n_u32(subvectors, 1), present);
  const uint32x4_t high = vandq_u32(subvectors, vdupq_n_u32(1u));
  return vshlq_u32(bytes, vreinterpretq_s32_u32(vmulq_n_u32(high, (uint32_t)-4)));
}

/* Codewords of 4, 8 or 16 values, words that are aligned in the codebook. */
static void decode_words(const lutra_codes *codes) {
  const uint32_t units = codes->d / 4u;
  const uint32x4_t unit = vdupq_n_u32(units - 1u), mask = vdupq_n_u32(codes->codewords - 1u);
  const int32x4_t shift = vdupq_n_s32(-(int32_t)(units >> 1)); /* by the logarithm */
  const uint8_t *row = codes->indices;
  int8_t *weights = codes->weights;
  for (uint32_t n = codes->rows; n > 0u; n--) {
    int8_t *to = weights;
    uint32_t word = 0u;
    for (int32_t left = (int32_t)codes->length; left > 0; left -= 16) {
      const mve_pred16_t present = vctp8q((uint32_t)left);
      const uint32x4_t words = vidupq_n_u32(word, 1), subvectors = vshlq_u32(words, shift);
      const uint32x4_t index = vandq_u32(indices_of(codes, row, subvectors, present), mask);
      const uint32x4_t at = vmlaq_n_u32(vandq_u32(words, unit), index, units);
      const uint32x4_t values = vldrwq_gather_shifted_offset_z_u32((const uint32_t *)(const void *)codes->codebook, at, present);
      vstrbq_p_u8((uint8_t *)to, vreinterpretq_u8_u32(values), present); /* aligned or not */
      to += 16;
      word += 4u;
    }
    row += codes->row_bytes;
    weights += codes->step;
  }
}

/* Codewords of one value or an aligned pair: a row is a vector. */
static void decode_short(const lutra_codes *codes) {
  const uint32_t bits = codes->index_bits;
  const uint16x8_t lane = vidupq_n_u16(0u, 1), mask = vdupq_n_u16((uint16_t)(codes->codewords - 1u));
  const uint16x8_t byte = bits == 8u ? lane : vshrq_n_u16(lane, 1);
  const int16x8_t shift = vreinterpretq_s16_u16(vmulq_n_u16(vandq_u16(lane, vdupq_n_u16(1u)), (uint16_t)(bits - 8u)));
  const mve_pred16_t present = vctp16q((codes->length + codes->d - 1u) / codes->d);
  const uint8_t *row = codes->indices;
  uint8_t *weights = (uint8_t *)codes->weights;
  for (uint32_t n = codes->rows; n > 0u; n--) {
    const uint16x8_t index = vandq_u16(vshlq_u16(vldrbq_gather_offset_z_u16(row, byte, present), shift), mask);
    if (codes->d == 1u) {
      vstrbq_p_u16(weights, vldrbq_gather_offset_z_u16((const uint8_t *)codes->codebook, index, present), present);
    } else {
      const uint16x8_t pairs = vldrhq_gather_shifted_offset_z_u16((const uint16_t *)(const void *)codes->codebook, index, present);
      vstrbq_p_u8(weights, vreinterpretq_u8_u16(pairs), vctp8q(codes->length));
    }
    row += codes->row_bytes;
    weights += codes->step;
  }
}

void lutra_decode_mve(const lutra_codes *codes) {
  const uint32_t d = codes->d, misaligned = (uint32_t)codes->codebook & (d - 1u);
  if (d <= 2u && misaligned == 0u) {
    decode_short(codes);
  } else if ((d == 4u || d == 8u || d == 16u) && (misaligned & 3u) == 0u) {
    decode_words(codes);
  } else {
    lutra_decode_reference(codes);
  }
}

#endif
