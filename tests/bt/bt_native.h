/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_native.h - runs machine code on the host CPU itself, as the oracle of the translator's tests.
 *
 * A child process maps the test's memory at the addresses the guest uses and runs the code there; faults end the run
 * and are reported.  It is a process of its own because the engine owns the signal handlers of this one.
 */
#ifndef TESTS_BT_NATIVE_H
#define TESTS_BT_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#define BTN_CODE_VA 0x10000000UL
#define BTN_CODE_PAGES 4
#define BTN_DATA_VA 0x20000000UL
#define BTN_DATA_PAGES 16
#define BTN_STACK_VA 0x30000000UL
#define BTN_STACK_PAGES 4
#define BTN_HIGH 0x5a5500000000UL    /* all of it is mapped a second time that much higher, where user code is relative (bt_int.h) */
#define BTN_PAGES (BTN_CODE_PAGES + BTN_DATA_PAGES + BTN_STACK_PAGES)
#define BTN_HOLE 12                 /* data page that is not mapped */
#define BTN_RO 3                    /* data page that is read-only */
#define BTN_XSAVE 4096
#define BTN_END_VECTOR 6            /* native runs end in ud2 where the guest executes syscall */

struct btn_state {
	uint64_t gpr[16];           /* hardware order */
	uint64_t rip, rflags;
	uint64_t vector, cr2;       /* of the fault that ended it */
	uint8_t xsave[BTN_XSAVE] __attribute__((aligned(64)));
};

struct btn_shared {                 /* shared with the child */
	struct btn_state in, out;
	uint8_t mem[BTN_PAGES * 4096] __attribute__((aligned(4096)));
};

/* Start the child.  Before the engine's handlers are installed. */
struct btn_shared *btn_start(void);
/* Run from in.rip until a fault; out is filled and mem is as the run left it.  -1: the child died. */
int btn_run(struct btn_shared *s);
/*
 * With every data page writable from here on: nanoseconds the code at in.rip takes until it ends, best of `times`; memory
 * is left as it was after the last.
 */
uint64_t btn_time(struct btn_shared *s, unsigned times);
void btn_stop(void);

#endif
