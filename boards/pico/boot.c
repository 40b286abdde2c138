/* SPDX-License-Identifier: Apache-2.0 */
/* The second stage of RP2040's boot: its ROM copies these 256 bytes to RAM and runs them if their CRC is right. They make the flash
 * readable in place, by the plain read command (03h) that every flash chip has, and start the program behind them. */

__asm__(
    ".section .boot, \"ax\"\n"
    ".syntax unified\n"
    ".thumb\n"
    "ldr r3, =0x18000000\n" /* the serial interface of the flash (SSI) */
    "movs r1, #0\n"
    "str r1, [r3, #0x08]\n" /* SSIENR: off, to be set up */
    "movs r1, #2\n"
    "str r1, [r3, #0x14]\n" /* BAUDR: half of the system clock */
    "ldr r1, =0x001F0300\n"
    "str r1, [r3, #0x00]\n" /* CTRLR0: frames of 32 bits, reads that begin with a command */
    "movs r1, #0\n"
    "str r1, [r3, #0x04]\n" /* CTRLR1: one frame */
    "ldr r1, =0x03000218\n"
    "ldr r0, =0x180000F4\n"
    "str r1, [r0]\n" /* SPI_CTRLR0: command 03h of 8 bits, addresses of 24 bits, all on one line */
    "movs r1, #1\n"
    "str r1, [r3, #0x08]\n" /* SSIENR: on */
    "ldr r0, =0x10000100\n"
    "ldr r1, =0xE000ED08\n"
    "str r0, [r1]\n" /* VTOR: the program's vectors */
    "ldmia r0, {r0, r1}\n"
    "msr msp, r0\n"
    "bx r1\n"
    ".ltorg\n"
    ".org 252, 0\n"
    /* CRC-32 of the bytes before: polynomial 04C11DB7, high bits first, from all ones; a test computes it. */
    ".word 0x3EB8225D\n"
    ".text\n");
