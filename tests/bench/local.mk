# SPDX-License-Identifier: GPL-2.0-or-later
# The engine's speed against native and QEMU's TCG: make bench-engine [JSON=FILE] [BENCH="NAME..."] [RUNS=N]
EXTRA_PROGRAMS += tests/bench/bench-guest
tests_bench_bench_guest_SOURCES = tests/bench/bench.h tests/bench/bench_main.c tests/bench/bench_compute.c tests/bench/bench_kernel.c \
	tests/bench/bench_io.c tests/bench/guest_start.c tests/bench/guest_start.h
tests_bench_bench_guest_CFLAGS = -std=gnu11 -O2 -g $(WARN_CFLAGS)
tests_bench_bench_guest_LDFLAGS = -static
CLEANFILES += tests/bench/bench-guest
EXTRA_DIST += tests/bench/bench-engine tests/bench/benchqemu.py tests/bench/benchnode.py tests/bench/bench-migrate tests/bench/test-bench-migrate

# Live migration against QEMU and the limit of the wire: make bench-migrate [JSON=FILE] [CASES="NAME..."] [SIDES="NAME..."] [RUNS=N] [MIB=N] [ROTATIONS=N]
EXTRA_PROGRAMS += tests/bench/bench-move-guest tests/bench/bench-wire
tests_bench_bench_move_guest_SOURCES = tests/bench/bench_move_guest.c tests/bench/guest_start.c tests/bench/guest_start.h
tests_bench_bench_move_guest_CFLAGS = -std=gnu11 -O2 -g $(WARN_CFLAGS) -pthread
tests_bench_bench_move_guest_LDFLAGS = -static -pthread
tests_bench_bench_wire_SOURCES = tests/bench/bench_wire.c
tests_bench_bench_wire_CFLAGS = -std=gnu11 -O2 -g $(WARN_CFLAGS) -pthread
tests_bench_bench_wire_LDADD = $(OPENSSL_LIBS) -lpthread
CLEANFILES += tests/bench/bench-move-guest tests/bench/bench-wire

bench-engine: all tests/bench/bench-guest$(EXEEXT)
	HAVEN_BUILD='$(abs_builddir)' JSON='$(JSON)' RUNS='$(RUNS)' BENCH='$(BENCH)' $(srcdir)/tests/bench/bench-engine
.PHONY: bench-engine

bench-migrate: all testbed-programs tests/bench/bench-move-guest$(EXEEXT) tests/bench/bench-wire$(EXEEXT)
	rm -rf bench-install && $(MAKE) -s install DESTDIR='$(abs_builddir)/bench-install' >bench-install.log
	HAVEN_BUILD='$(abs_builddir)' JSON='$(JSON)' RUNS='$(RUNS)' CASES='$(CASES)' SIDES='$(SIDES)' MIB='$(MIB)' ROTATIONS='$(ROTATIONS)' $(srcdir)/tests/bench/bench-migrate
.PHONY: bench-migrate

# The two workers of a move alone, in CPU seconds per GiB, beside the wire's: make bench-workers [MIB=N] [RUNS=N] [CONNECTIONS=N] [LAST="PAGES..."]
EXTRA_DIST += tests/bench/bench-workers
bench-workers: all tests/migrated/make_pki$(EXEEXT) tests/bench/bench-wire$(EXEEXT)
	HAVEN_BUILD='$(abs_builddir)' RUNS='$(RUNS)' MIB='$(MIB)' CONNECTIONS='$(CONNECTIONS)' LAST='$(LAST)' $(srcdir)/tests/bench/bench-workers
.PHONY: bench-workers
