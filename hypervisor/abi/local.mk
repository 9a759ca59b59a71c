# SPDX-License-Identifier: GPL-2.0-or-later
noinst_LIBRARIES += hypervisor/abi/libabi.a
hypervisor_abi_libabi_a_SOURCES = \
	hypervisor/abi/abi.h hypervisor/abi/abi_private.h hypervisor/abi/evtchn.h hypervisor/abi/gnttab.h \
	hypervisor/abi/abi_domain.c hypervisor/abi/abi_image.c hypervisor/abi/evtchn.c hypervisor/abi/evtchn_fifo.c hypervisor/abi/evtchn_op.c \
	hypervisor/abi/frames.c hypervisor/abi/gnttab.c hypervisor/abi/guest_mem.c hypervisor/abi/guest_time.c \
	hypervisor/abi/hypercall.c hypervisor/abi/memory_op.c hypervisor/abi/misc_op.c hypervisor/abi/mmu_op.c \
	hypervisor/abi/sched_op.c hypervisor/abi/segments.c hypervisor/abi/traps.c hypervisor/abi/vcpu_op.c

noinst_LIBRARIES += hypervisor/libvcpu.a
hypervisor_libvcpu_a_SOURCES = \
	hypervisor/host_clock.c hypervisor/vcpu_loop.c hypervisor/vcpu_loop.h hypervisor/vcpu_thread.c \
	hypervisor/vcpu_thread.h
