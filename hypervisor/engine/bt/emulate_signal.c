/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate_signal.c - emu_signal(): faults of instructions that emulate_native.c runs on the host CPU.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <signal.h>
#include <stdbool.h>

#include "hypervisor/engine/bt/emulate_signal.h"

__thread struct emu_window emu_window;

bool emu_signal(int sig, void *ucontext);    /* bt.h, which cannot be included beside <signal.h> */

bool emu_signal(int sig, void *ucontext)
{
	greg_t *g = ((ucontext_t *)ucontext)->uc_mcontext.gregs;
	struct emu_window *w = &emu_window;
	uint64_t rip = (uint64_t)g[REG_RIP];

	if (sig != SIGSEGV && sig != SIGFPE && sig != SIGILL && sig != SIGBUS && sig != SIGTRAP)
		return false;
	if (rip < w->start || rip >= w->end || w->vector)
		return false;
	w->vector = (uint64_t)g[REG_TRAPNO] + 1;
	g[REG_RIP] = (greg_t)w->recover;
	return true;
}
