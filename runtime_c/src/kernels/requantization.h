/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUTRA_REQUANTIZATION_H
#define LUTRA_REQUANTIZATION_H

#include "../loops.h"

/* `layer`: a lutra_conv2d or a lutra_linear. */
#define LUTRA_REQUANTIZATION(layer)                                                                                \
  {(layer)->bias_shift, (layer)->acc_shift, (layer)->output_shift, (layer)->output_zero_point, (layer)->output_min, \
   (layer)->output_max}

#endif
