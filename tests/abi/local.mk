# SPDX-License-Identifier: GPL-2.0-or-later
# Micro-guests: freestanding PV kernels, one a source file, run by tests/abi/test-micro-guests.  Neither the program's
# warnings nor its hardening apply to them: they run on no libc and behind no loader.
MICRO_GUESTS = hello traps events timer mmu usermode smp smc balloon clock fpu multicall grants segments store split watchdog \
	grant_map grant_versions fifo evtchn_ops iopl vm_assist ldt debugreg nmi failsafe ts \
	exchange runstate vcpu_time tsc vcpu_info poll memory_queries version_and_names cpuid_hidden msr \
	user32 multicall_partial mmuext_errors user_faults flags strings page_crossing \
	hostile_hypercalls hostile_ptes hostile_insns hostile_user hostile_rings hostile_race crash_stack crash_iret \
	hostile_self_map hostile_frames hostile_pins hostile_tables hostile_descriptors hostile_iret hostile_stacks \
	hostile_grants hostile_events hostile_fifo hostile_smc_smp hostile_last_page hostile_exceptions hostile_vex \
	hostile_lists hostile_areas hostile_vcpus hostile_balloon hostile_console hostile_store hostile_vbd hostile_vif neighbour deaf
MICRO_GUEST_LIB = tests/abi/micro_guest.c tests/abi/micro_guest.h tests/abi/front_end.c tests/abi/front_end.h tests/abi/micro_guest_start.S \
	tests/abi/micro_guest.ld
MICRO_GUEST_OBJS = tests/abi/micro_guest.c.lib tests/abi/micro_guest_start.S.lib tests/abi/front_end.a
MICRO_GUEST_FLAGS = -D__XEN_INTERFACE_VERSION__=0x00040e00 -std=gnu11 -O2 -g -Wall -Wextra -Wno-unused-parameter \
	-ffreestanding -fno-pic -no-pie -mcmodel=kernel -mno-red-zone -mgeneral-regs-only -fno-stack-protector \
	-fcf-protection=none -fno-asynchronous-unwind-tables -U_FORTIFY_SOURCE -nostdlib -static -Wl,--build-id=none \
	-Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments

noinst_DATA += tests/abi/micro-guests.stamp
tests/abi/micro-guests.stamp: $(MICRO_GUEST_LIB) $(MICRO_GUESTS:%=tests/abi/mg_%.c)
	@mkdir -p tests/abi
	$(AM_V_GEN)set -e; for f in micro_guest.c front_end.c micro_guest_start.S; do \
		$(CC) $(MICRO_GUEST_FLAGS) -I$(top_srcdir)/tests/abi -c -o tests/abi/$$f.lib $(top_srcdir)/tests/abi/$$f; \
	done; \
	rm -f tests/abi/front_end.a; $(AR) rc tests/abi/front_end.a tests/abi/front_end.c.lib; \
	new=no; for f in $(MICRO_GUEST_LIB); do [ $@ -nt $(top_srcdir)/$$f ] || [ $@ -nt $$f ] || new=yes; done; \
	for g in $(MICRO_GUESTS); do \
		[ $$new = no ] && [ tests/abi/mg_$$g -nt $(top_srcdir)/tests/abi/mg_$$g.c ] && continue; \
		$(CC) $(MICRO_GUEST_FLAGS) -I$(top_srcdir)/tests/abi -Wl,-T,$(top_srcdir)/tests/abi/micro_guest.ld \
			-o tests/abi/mg_$$g $(top_srcdir)/tests/abi/mg_$$g.c $(MICRO_GUEST_OBJS); \
	done
	@touch $@
CLEANFILES += tests/abi/micro-guests.stamp $(MICRO_GUEST_OBJS) tests/abi/front_end.c.lib $(MICRO_GUESTS:%=tests/abi/mg_%)
EXTRA_DIST += $(MICRO_GUEST_LIB) $(MICRO_GUESTS:%=tests/abi/mg_%.c) tests/abi/test-micro-guests
