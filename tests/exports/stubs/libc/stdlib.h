/* SPDX-License-Identifier: Apache-2.0 */
_Noreturn void exit(int status);
