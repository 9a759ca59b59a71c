/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_programs.h - random programs that stay within the memory of bt_native.h, mostly: instructions with plain operands, around them
 * jumps, calls, loops, strings.  A seed has the same programs as long as what is drawn from it, and its order, stays what it is.
 */
#ifndef TESTS_BT_PROGRAMS_H
#define TESTS_BT_PROGRAMS_H

#include <stdint.h>

#include "hypervisor/vcpu.h"
#include "tests/bt/bt_native.h"

#define MAX_PROG 3500
/* Registers that point into the data pages, and those that hold small numbers: programs change them in some loops alone. */
#define PTRS (1U << REG_RBX | 1U << REG_RBP | 1U << REG_RSI | 1U << REG_RDI | 1U << REG_R12 | 1U << REG_R13)
#define IDXS (1U << REG_R8 | 1U << REG_R14)

extern uint64_t rng;                    /* whatever is random comes from here; never 0 */
uint64_t rnd(void);
unsigned below(unsigned n);

extern uint8_t prog[MAX_PROG + 64];
extern unsigned prog_len;
extern unsigned long prog_instructions; /* random ones, of all programs */

/* Once a process. */
void prog_begin(void);
/* The next program, which ends in syscall; to run at BTN_CODE_VA. */
void prog_make(void);
/* To run at offset off there, once: its rip-relative operands stay where they are. */
void prog_move(unsigned off);
/* What it starts with, `base` above where bt_native.h has it: registers, and all of the memory but the code. */
void prog_state(struct btn_state *s, uint64_t base, unsigned off);
void prog_memory(uint8_t *mem);
/* Its instructions, as if at va, to stderr. */
void prog_print(uint64_t va);

#endif
