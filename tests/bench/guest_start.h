/* SPDX-License-Identifier: GPL-2.0-or-later */
/* guest_start.h - what a benchmark's first program in a guest does before its work.  Errors go to standard error, the console. */
#ifndef TESTS_BENCH_GUEST_START_H
#define TESTS_BENCH_GUEST_START_H

/* Each file of /modules that /modules/order names, a line each, in that order (tests/testbed/ramdisk.py). */
void guest_modules_load(void);
/* Waits for eth0 (30 s at most), and sets it up with the IPv4 address, of a network of 24 bits. */
void guest_address_set(const char *address);

#endif
