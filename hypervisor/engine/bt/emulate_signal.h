/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate_signal.h - where a fault of a natively run guest instruction goes on.
 *
 * Apart from vcpu.h, whose register names are those glibc's <signal.h> takes for itself.
 */
#ifndef BT_EMULATE_SIGNAL_H
#define BT_EMULATE_SIGNAL_H

#include <stdint.h>

/* Of this thread: a fault with rip in [start, end) continues at recover, once, and leaves its vector + 1. */
struct emu_window {
	uint64_t start, end, recover;
	volatile uint64_t vector;
};

extern __thread struct emu_window emu_window;

#endif
