/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
int printf(const char *format, ...);
int vsnprintf(char *text, size_t bytes, const char *format, va_list arguments);
#ifdef __cplusplus
}
#endif
