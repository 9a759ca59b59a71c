/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_measure.h - what the CPU itself says of an instruction: how many bytes it takes, what it touches.  The decoder is a library's table;
 * an instruction that the CPU takes to be shorter or longer would make it run the guest's immediate, or miss what follows.
 *
 * The instruction's first bytes lie at the end of an executable page, its operand at the end of a data page, to which one register points;
 * nothing is behind either.  All other general registers are 0.
 */
#ifndef TESTS_BT_MEASURE_H
#define TESTS_BT_MEASURE_H

#include <stddef.h>
#include <stdint.h>

enum measured {
	MEASURED_DONE,          /* it ran; the CPU goes on right behind those bytes */
	MEASURED_LONGER,        /* it wants more bytes */
	MEASURED_FAULT,         /* another exception: #UD, #GP, #DE, ... */
	MEASURED_BEYOND,        /* it reads or writes behind its operand */
	MEASURED_WROTE,         /* it writes to a page for reading */
	MEASURED_ELSEWHERE,     /* it touches what is not its operand, or jumps */
};

enum measure_data { MEASURE_WRITABLE, MEASURE_ZEROS, MEASURE_ONES };    /* the latter for reading; of octets 01 */

/* Once a process.  Takes over its handlers of faults.  0 or -errno. */
int measure_begin(void);
/* n bytes of code; an operand of `size` bytes, at most 128, at the register's (its hardware number) address. */
enum measured measure(const uint8_t *code, size_t n, enum measure_data data, size_t size, unsigned reg);

#endif
