/* SPDX-License-Identifier: Apache-2.0 */
/* Where a window lies on the input. Positions are unsigned: one above or left of the image wraps to a large number. */
#ifndef LUTRA_WINDOW_H
#define LUTRA_WINDOW_H

#include "lutra/lutra_kernels.h"

/* The pixel at tap (ky, kx) of output (i, j), NULL where that is padding. `layer`: a lutra_conv2d or a lutra_pool. */
#define LUTRA_PIXEL(layer, input, i, j, ky, kx)                                                                           \
  lutra_pixel(input, (i) * (layer)->stride_h + (ky) - (layer)->pad_top, (j) * (layer)->stride_w + (kx) - (layer)->pad_left, \
              (layer)->in_h, (layer)->in_w, (layer)->in_c)

static inline const int8_t *lutra_pixel(const int8_t *input, uint32_t y, uint32_t x, uint32_t in_h, uint32_t in_w,
                                        uint32_t in_c) {
  return y < in_h && x < in_w ? input + (y * in_w + x) * in_c : NULL;
}

#endif
