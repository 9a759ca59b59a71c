# SPDX-License-Identifier: GPL-2.0-or-later

# Guest page walk and copies.  Runs while guest vector registers are live (bt.h, context "fast").
noinst_LIBRARIES += hypervisor/engine/libmmu.a
hypervisor_engine_libmmu_a_SOURCES = \
	hypervisor/engine/bt/mmu.c hypervisor/engine/bt/mmu.h hypervisor/engine/bt/mmu_span.c
hypervisor_engine_libmmu_a_CFLAGS = $(AM_CFLAGS) -mgeneral-regs-only

check_PROGRAMS += tests/unit/test_mmu
tests_unit_test_mmu_SOURCES = tests/unit/test_mmu.c tests/unit/guest_mem.h
tests_unit_test_mmu_LDADD = hypervisor/engine/libmmu.a $(UNIT_LIBS)
