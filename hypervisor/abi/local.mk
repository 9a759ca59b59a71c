# SPDX-License-Identifier: GPL-2.0-or-later
noinst_LIBRARIES += hypervisor/abi/libabi.a hypervisor/abi/libabifast.a
hypervisor_abi_libabi_a_SOURCES = \
	hypervisor/abi/abi.h hypervisor/abi/abi_private.h hypervisor/abi/evtchn.h hypervisor/abi/gnttab.h \
	hypervisor/abi/abi_domain.c hypervisor/abi/abi_image.c hypervisor/abi/evtchn.c hypervisor/abi/evtchn_fifo.c hypervisor/abi/evtchn_op.c \
	hypervisor/abi/frame_runs.c hypervisor/abi/frame_runs.h hypervisor/abi/gnttab.c hypervisor/abi/gnttab_map.c hypervisor/abi/guest_time.c \
	hypervisor/abi/memory_op.c hypervisor/abi/misc_op.c \
	hypervisor/abi/sched_op.c hypervisor/abi/vcpu_op.c

# What an engine calls while guest vector registers are live (serve.c): general registers only, no libc memory functions.
hypervisor_abi_libabifast_a_SOURCES = \
	hypervisor/abi/serve.c hypervisor/abi/kernel_entry.c hypervisor/abi/guest_mem.c hypervisor/abi/hypercall.c \
	hypervisor/abi/mmu_op.c hypervisor/abi/segments.c hypervisor/abi/traps.c
hypervisor_abi_libabifast_a_CFLAGS = $(AM_CFLAGS) -mgeneral-regs-only -fno-tree-loop-distribute-patterns
# each needs the other
ABI_LIBS = hypervisor/abi/libabi.a hypervisor/abi/libabifast.a hypervisor/abi/libabi.a

noinst_LIBRARIES += hypervisor/libvcpu.a
hypervisor_libvcpu_a_SOURCES = \
	hypervisor/host_clock.c hypervisor/host_clock.h hypervisor/vcpu_loop.c hypervisor/vcpu_loop.h hypervisor/vcpu_thread.c \
	hypervisor/vcpu_thread.h hypervisor/ram_huge.c hypervisor/ram_huge.h

ABI_FAKE = tests/unit/abi_fake.c tests/unit/abi_fake.h
ABI_TEST_LIBS = $(ABI_LIBS) lib/libhaven.a $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_evtchn tests/unit/test_gnttab tests/unit/test_kernel_entry tests/unit/test_mmu_op \
	tests/unit/test_guest_time tests/unit/test_abi_image tests/unit/test_frame_runs
tests_unit_test_evtchn_SOURCES = tests/unit/test_evtchn.c $(ABI_FAKE)
tests_unit_test_evtchn_LDADD = $(ABI_TEST_LIBS)
tests_unit_test_gnttab_SOURCES = tests/unit/test_gnttab.c $(ABI_FAKE)
tests_unit_test_gnttab_LDADD = $(ABI_TEST_LIBS)
tests_unit_test_kernel_entry_SOURCES = tests/unit/test_kernel_entry.c $(ABI_FAKE)
tests_unit_test_kernel_entry_LDADD = $(ABI_TEST_LIBS)
tests_unit_test_mmu_op_SOURCES = tests/unit/test_mmu_op.c $(ABI_FAKE)
tests_unit_test_mmu_op_LDADD = $(ABI_TEST_LIBS)
tests_unit_test_guest_time_SOURCES = tests/unit/test_guest_time.c $(ABI_FAKE)
tests_unit_test_guest_time_LDADD = $(ABI_TEST_LIBS)
tests_unit_test_abi_image_SOURCES = tests/unit/test_abi_image.c $(ABI_FAKE)
tests_unit_test_abi_image_LDADD = $(ABI_TEST_LIBS)
tests_unit_test_frame_runs_SOURCES = tests/unit/test_frame_runs.c
tests_unit_test_frame_runs_LDADD = $(ABI_TEST_LIBS)
check_PROGRAMS += tests/fuzz/fuzz_state
tests_fuzz_fuzz_state_SOURCES = tests/fuzz/fuzz_state.c tests/fuzz/fuzz_main.c tests/fuzz/fuzz.h $(ABI_FAKE)
tests_fuzz_fuzz_state_LDADD = $(ABI_TEST_LIBS)
