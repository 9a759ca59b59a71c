# SPDX-License-Identifier: GPL-2.0-or-later
# The engine's speed against native and QEMU's TCG: make bench-engine [JSON=FILE] [BENCH="NAME..."] [RUNS=N]
EXTRA_PROGRAMS += tests/bench/bench-guest
tests_bench_bench_guest_SOURCES = tests/bench/bench.h tests/bench/bench_main.c tests/bench/bench_compute.c tests/bench/bench_kernel.c
tests_bench_bench_guest_CFLAGS = -std=gnu11 -O2 -g $(WARN_CFLAGS)
tests_bench_bench_guest_LDFLAGS = -static
CLEANFILES += tests/bench/bench-guest
EXTRA_DIST += tests/bench/bench-engine tests/bench/benchqemu.py

bench-engine: hvrun$(EXEEXT) tests/bench/bench-guest$(EXEEXT)
	HAVEN_BUILD='$(abs_builddir)' JSON='$(JSON)' RUNS='$(RUNS)' BENCH='$(BENCH)' $(srcdir)/tests/bench/bench-engine
.PHONY: bench-engine
