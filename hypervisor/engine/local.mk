# SPDX-License-Identifier: GPL-2.0-or-later

# Guest page walk and copies.  Runs while guest vector registers are live (bt.h, context "fast").
noinst_LIBRARIES += hypervisor/engine/libmmu.a
hypervisor_engine_libmmu_a_SOURCES = \
	hypervisor/engine/bt/mmu.c hypervisor/engine/bt/mmu.h hypervisor/engine/bt/mmu_span.c
hypervisor_engine_libmmu_a_CFLAGS = $(AM_CFLAGS) -mgeneral-regs-only

# Single-step emulator, privileged instructions, CPUID policy (context "full").
noinst_LIBRARIES += hypervisor/engine/libemulate.a
hypervisor_engine_libemulate_a_SOURCES = \
	hypervisor/engine/bt/emulate.c hypervisor/engine/bt/emulate.h hypervisor/engine/bt/emulate_operand.c \
	hypervisor/engine/bt/emulate_flow.c hypervisor/engine/bt/emulate_string.c hypervisor/engine/bt/emulate_bits.c \
	hypervisor/engine/bt/emulate_fpstate.c hypervisor/engine/bt/emulate_fpstate.h \
	hypervisor/engine/bt/emulate_vector.c hypervisor/engine/bt/emulate_debug.c \
	hypervisor/engine/bt/emulate_legacy.c hypervisor/engine/bt/emulate_native.c \
	hypervisor/engine/bt/emulate_signal.c hypervisor/engine/bt/emulate_signal.h \
	hypervisor/engine/bt/privop.c hypervisor/engine/bt/privop.h hypervisor/engine/bt/privop_msr.c \
	hypervisor/engine/bt/privop_desc.c hypervisor/engine/bt/cpuid.c hypervisor/engine/bt/cpuid.h

check_PROGRAMS += tests/unit/test_mmu
tests_unit_test_mmu_SOURCES = tests/unit/test_mmu.c tests/unit/guest_mem.h
tests_unit_test_mmu_LDADD = hypervisor/engine/libmmu.a $(UNIT_LIBS)

# The translator.  libbtfast runs while guest vector registers are live: general registers only, no libc memory functions.
noinst_LIBRARIES += hypervisor/engine/libbt.a hypervisor/engine/libbtfast.a
hypervisor_engine_libbt_a_SOURCES = \
	hypervisor/engine/bt/bt.h hypervisor/engine/bt/bt_tlb.h hypervisor/engine/bt/bt_int.h \
	hypervisor/engine/bt/bt_emit.h hypervisor/engine/bt/bt_decode.c hypervisor/engine/bt/bt_decode.h \
	hypervisor/engine/bt/bt_stubs.c hypervisor/engine/bt/bt_xlat.c hypervisor/engine/bt/bt_xlat.h \
	hypervisor/engine/bt/bt_xlat_state.c hypervisor/engine/bt/bt_xlat_check.c hypervisor/engine/bt/bt_xlat_group.c \
	hypervisor/engine/bt/bt_xlat_loop.c hypervisor/engine/bt/bt_xlat_mem.c hypervisor/engine/bt/bt_xlat_flow.c \
	hypervisor/engine/bt/bt_find.c hypervisor/engine/bt/bt_ahead.c hypervisor/engine/bt/bt_signal.c hypervisor/engine/bt/bt_engine.c
hypervisor_engine_libbtfast_a_SOURCES = \
	hypervisor/engine/bt/bt_run.c hypervisor/engine/bt/bt_slow.c hypervisor/engine/bt/bt_cache.c \
	hypervisor/engine/bt/bt_shoot.c hypervisor/engine/bt/bt_quick.c hypervisor/engine/bt/bt_gate.c
hypervisor_engine_libbtfast_a_CFLAGS = $(AM_CFLAGS) -mgeneral-regs-only -fno-tree-loop-distribute-patterns

check_PROGRAMS += tests/unit/test_emulate tests/unit/test_privop
tests_unit_test_privop_SOURCES = tests/unit/test_privop.c tests/unit/native_run.c tests/unit/native_run.h tests/unit/guest_mem.h
tests_unit_test_privop_LDADD = hypervisor/engine/libemulate.a hypervisor/engine/libmmu.a $(ZYDIS_LIBS) $(UNIT_LIBS)
tests_unit_test_emulate_SOURCES = tests/unit/test_emulate.c tests/unit/native_run.c tests/unit/native_run.h tests/unit/guest_mem.h
tests_unit_test_emulate_LDADD = hypervisor/engine/libemulate.a hypervisor/engine/libmmu.a $(ZYDIS_LIBS) $(UNIT_LIBS)

# what links an engine
ENGINE_LIBS = hypervisor/engine/libbt.a hypervisor/engine/libbtfast.a hypervisor/engine/libemulate.a \
	hypervisor/engine/libmmu.a lib/libhaven.a $(ZYDIS_LIBS)

# The translator against the host CPU; 20 seconds in "make check", longer with an argument
check_PROGRAMS += tests/bt/bt_fuzz
tests_bt_bt_fuzz_SOURCES = tests/bt/bt_fuzz.c tests/bt/bt_programs.c tests/bt/bt_programs.h tests/bt/bt_native.c tests/bt/bt_native.h \
	tests/bt/bt_guest.h tests/bt/bt_noabi.c
tests_bt_bt_fuzz_LDADD = $(ENGINE_LIBS) $(ENGINE_LIBS)

# A kick at every host instruction; 10 seconds in "make check", longer with an argument
check_PROGRAMS += tests/bt/bt_kicks
tests_bt_bt_kicks_SOURCES = tests/bt/bt_kicks.c tests/bt/bt_programs.c tests/bt/bt_programs.h tests/bt/bt_native.h tests/bt/bt_guest.h \
	tests/bt/bt_noabi.c
tests_bt_bt_kicks_LDADD = $(ENGINE_LIBS) $(ENGINE_LIBS)

# The opcode space against the cage; everything with --long or HAVEN_LONG=1
check_PROGRAMS += tests/bt/bt_opcodes
tests_bt_bt_opcodes_SOURCES = tests/bt/bt_opcodes.c tests/bt/bt_opcodes_list.h tests/bt/bt_native.h tests/bt/bt_guest.h \
	tests/bt/bt_measure.c tests/bt/bt_measure.h tests/bt/bt_noabi.c
tests_bt_bt_opcodes_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=bt_decode
tests_bt_bt_opcodes_LDADD = $(ENGINE_LIBS) $(ENGINE_LIBS)

noinst_PROGRAMS += tests/bt/bt_speed
tests_bt_bt_speed_SOURCES = tests/bt/bt_speed.c tests/bt/bt_kernels.c tests/bt/bt_kernels.h tests/bt/bt_native.c \
	tests/bt/bt_native.h tests/bt/bt_guest.h tests/bt/bt_noabi.c
tests_bt_bt_speed_LDADD = $(ENGINE_LIBS) $(ENGINE_LIBS) -lm

# /init of the guest that tests/bt/test-guest-cpu boots
EXTRA_PROGRAMS += tests/bt/guest-cpu
tests_bt_guest_cpu_SOURCES = tests/bt/guest_cpu.c
tests_bt_guest_cpu_CFLAGS = -std=gnu11 -O1 -g $(WARN_CFLAGS)
tests_bt_guest_cpu_LDFLAGS = -static -pthread
tests_bt_guest_cpu_LDADD = -lm
CLEANFILES += tests/bt/guest-cpu
EXTRA_DIST += tests/bt/test-guest-cpu
check_PROGRAMS += tests/unit/test_bt
tests_unit_test_bt_SOURCES = tests/unit/test_bt.c tests/bt/bt_native.h tests/bt/bt_guest.h tests/bt/bt_noabi.c
tests_unit_test_bt_LDADD = $(ENGINE_LIBS) $(ENGINE_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_bt_ahead
tests_unit_test_bt_ahead_SOURCES = tests/unit/test_bt_ahead.c tests/bt/bt_native.h tests/bt/bt_guest.h tests/bt/bt_noabi.c
tests_unit_test_bt_ahead_LDADD = $(ENGINE_LIBS) $(ENGINE_LIBS) $(UNIT_LIBS)
