/* SPDX-License-Identifier: Apache-2.0 */
/* What the sample uses of Zephyr. */
#include <stdio.h>

#define printk printf
