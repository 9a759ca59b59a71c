/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz.h - a parser's fuzz target, driven either by libFuzzer (clang -fsanitize=fuzzer, without fuzz_main.c) or by fuzz_main.c's
 * own short mutation run, which `make check` executes.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

struct fuzz_seed { const void *data; size_t len; };

/* Inputs worth mutating; ends with data NULL. */
extern const struct fuzz_seed fuzz_seeds[];

/* Feeds one input to the parser under test. Anything but returning 0 is a failure. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
