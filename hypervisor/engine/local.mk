# SPDX-License-Identifier: GPL-2.0-or-later

# Guest page walk and copies.  Runs while guest vector registers are live (bt.h, context "fast").
noinst_LIBRARIES += hypervisor/engine/libmmu.a
hypervisor_engine_libmmu_a_SOURCES = \
	hypervisor/engine/bt/mmu.c hypervisor/engine/bt/mmu.h hypervisor/engine/bt/mmu_span.c
hypervisor_engine_libmmu_a_CFLAGS = $(AM_CFLAGS) -mgeneral-regs-only

check_PROGRAMS += tests/unit/test_mmu
tests_unit_test_mmu_SOURCES = tests/unit/test_mmu.c tests/unit/guest_mem.h
tests_unit_test_mmu_LDADD = hypervisor/engine/libmmu.a $(UNIT_LIBS)

# The translator.  libbtfast runs while guest vector registers are live: general registers only, no libc memory functions.
noinst_LIBRARIES += hypervisor/engine/libbt.a hypervisor/engine/libbtfast.a
hypervisor_engine_libbt_a_SOURCES = \
	hypervisor/engine/bt/bt.h hypervisor/engine/bt/bt_tlb.h hypervisor/engine/bt/bt_int.h \
	hypervisor/engine/bt/bt_emit.h hypervisor/engine/bt/bt_decode.c hypervisor/engine/bt/bt_decode.h \
	hypervisor/engine/bt/bt_stubs.c hypervisor/engine/bt/bt_xlat.c \
	hypervisor/engine/bt/bt_find.c hypervisor/engine/bt/bt_signal.c hypervisor/engine/bt/bt_engine.c
hypervisor_engine_libbtfast_a_SOURCES = \
	hypervisor/engine/bt/bt_run.c hypervisor/engine/bt/bt_slow.c hypervisor/engine/bt/bt_cache.c
hypervisor_engine_libbtfast_a_CFLAGS = $(AM_CFLAGS) -mgeneral-regs-only -fno-tree-loop-distribute-patterns
