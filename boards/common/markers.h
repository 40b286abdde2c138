/* SPDX-License-Identifier: Apache-2.0 */
/* Places in the code that qemu_plugin/count.c watches: (address, number) pairs beside the program, which cost it neither an
 * instruction nor a byte. A section named as debug information is not loaded, and keeps no unused function alive. */
#ifndef LUTRA_MARKERS_H
#define LUTRA_MARKERS_H

#define MARKER(number)                                    \
  __asm__ volatile("1:\n"                                 \
                   ".pushsection .debug_lutra_markers\n"  \
                   ".word 1b, %c0\n"                      \
                   ".popsection" ::"i"(number)            \
                   : "memory")

#define MARKER_BEGIN (-1)
#define MARKER_END (-2)

/* The hook of lutra_config.h. */
#define LUTRA_AFTER_LAYER(index, data, bytes) MARKER(index)

#endif
