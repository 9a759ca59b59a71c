/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * native_run.h - run one instruction of this process with chosen registers, and see what it did.
 */
#ifndef TESTS_NATIVE_RUN_H
#define TESTS_NATIVE_RUN_H

#include <stddef.h>
#include <stdint.h>

#define CODE_VA 0x10000000UL            /* one page: the instruction at +0x800, int3 everywhere else */
#define DATA_VA 0x20000000UL            /* NR_DATA pages, nothing around them */
#define NR_DATA 3

struct native_state {
	uint64_t gpr[16];               /* hardware encoding order */
	uint64_t rip, rflags;
	uint8_t xmm[16][16], ymmh[16][16], st[8][10];
	uint16_t fcw, fsw;
	uint8_t ftw;
	uint32_t mxcsr;
	uint64_t vector;                /* fault + 1, 0: ran */
	uint64_t cr2;
	int code32;                     /* run as compatibility-mode code */
};

/* Maps the pages.  0 or -1. */
int native_setup(void);
/* Signal handlers (which serve emu_signal() first); in each test, since cmocka puts its own before it.  0 or -1. */
int native_signals(void);
void native_teardown(void);
void native_run(struct native_state *s);

#endif
