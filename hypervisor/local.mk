# SPDX-License-Identifier: GPL-2.0-or-later

# what links a whole domain: engine, ABI, vCPU threads (the order is the linker's)
HYPERVISOR_LIBS = hypervisor/build/libhvbuild.a hypervisor/build/libkernel.a hypervisor/libvcpu.a $(ABI_LIBS) \
	$(ENGINE_LIBS) $(ENGINE_LIBS) hypervisor/libvcpu.a \
	$(ABI_LIBS) hypervisor/libvcpu.a $(ABI_LIBS) $(LZMA_LIBS) $(LZ4_LIBS) $(ZSTD_LIBS) $(ZLIB_LIBS) -lm

noinst_PROGRAMS += hvrun
hvrun_SOURCES = hypervisor/hvrun.c
hvrun_LDADD = $(HYPERVISOR_LIBS) $(HAVEN_LIBS)

havenlibexec_PROGRAMS += haven-hv-domain
haven_hv_domain_SOURCES = hypervisor/hv_domain_main.c hypervisor/hv_domain.h hypervisor/hv_domain_ahead.c hypervisor/hv_domain_ahead.h hypervisor/hv_domain_copy.c \
	hypervisor/hv_domain_copy.h hypervisor/hv_domain_control.c hypervisor/hv_domain_image.c hypervisor/hv_domain_image.h \
	hypervisor/hv_domain_change.c hypervisor/core_dump.c hypervisor/core_dump.h \
	hypervisor/hv_domain_move.c hypervisor/hv_domain_pages.c hypervisor/hv_domain_pages.h hypervisor/hv_domain_run.c hypervisor/hv_domain_sandbox.c hypervisor/hv_domain_threads.c
haven_hv_domain_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(SECCOMP_CFLAGS) $(UUID_CFLAGS)
haven_hv_domain_LDADD = hypervisor/devices/libdevices.a $(HYPERVISOR_LIBS) hypervisor/image/libimage.a $(HAVEN_LIBS) $(OPENSSL_LIBS) \
	$(UUID_LIBS)

sbin_PROGRAMS += hypervisord
hypervisord_SOURCES = hypervisor/hypervisord_main.c hypervisor/hypervisord.h hypervisor/hypervisord_child.c \
	hypervisor/hypervisord_create.c hypervisor/hypervisord_change.c hypervisor/hypervisord_cgroup.c \
	hypervisor/hypervisord_devices.c hypervisor/hypervisord_end.c hypervisor/hypervisord_helper.c hypervisor/hypervisord_hurry.c hypervisor/hypervisord_job.c \
	hypervisor/hypervisord_move.c hypervisor/hypervisord_node.c hypervisor/hypervisord_ops.c hypervisor/hypervisord_save.c \
	hypervisor/hypervisord_store.c hypervisor/hypervisord_table.c hypervisor/hypervisord_takes.c hypervisor/host_clock.c hypervisor/host_clock.h
hypervisord_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(OPENSSL_CFLAGS) $(UUID_CFLAGS)
hypervisord_LDADD = hypervisor/engine/libemulate.a $(HAVEN_LIBS) $(OPENSSL_LIBS) $(UUID_LIBS)

check_PROGRAMS += tests/unit/test_hv_domain_copy
tests_unit_test_hv_domain_copy_SOURCES = tests/unit/test_hv_domain_copy.c hypervisor/hv_domain_copy.c
tests_unit_test_hv_domain_copy_LDADD = lib/libhaven.a $(QB_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_hv_pages
tests_unit_test_hv_pages_SOURCES = tests/unit/test_hv_pages.c hypervisor/hv_domain_pages.c hypervisor/hv_domain_copy.c
tests_unit_test_hv_pages_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_ram_ready
tests_unit_test_ram_ready_SOURCES = tests/unit/test_ram_ready.c
tests_unit_test_ram_ready_LDADD = hypervisor/build/libhvbuild.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_pv_start
tests_unit_test_pv_start_SOURCES = tests/unit/test_pv_start.c
tests_unit_test_pv_start_LDADD = $(HYPERVISOR_LIBS) lib/libhaven.a $(QB_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_ram_huge
tests_unit_test_ram_huge_SOURCES = tests/unit/test_ram_huge.c
tests_unit_test_ram_huge_LDADD = $(HYPERVISOR_LIBS) lib/libhaven.a $(QB_LIBS) $(UNIT_LIBS)

dist_systemdsystemunit_DATA += units/hypervisord.service
dist_man_MANS += docs/man/hypervisord.8 docs/man/haven-hv-domain.8 docs/man/haven-image-check.8

check_PROGRAMS += tests/unit/test_hv_sandbox
tests_unit_test_hv_sandbox_SOURCES = tests/unit/test_hv_sandbox.c hypervisor/hv_domain_sandbox.c
tests_unit_test_hv_sandbox_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)
EXTRA_DIST += tests/hypervisor/test-requests tests/hypervisor/test-hand-over tests/hypervisor/test-takes tests/hypervisor/test-run-time tests/hypervisor/test-hostile tests/hypervisor/test-cpu-share tests/hypervisor/test-boot-matrix \
	tests/hypervisor/long-debian-userland tests/hypervisor/long-stress
# /init of the guest of tests/hypervisor/test-save-compare and test-hand-over
EXTRA_PROGRAMS += tests/hypervisor/state-keeper
tests_hypervisor_state_keeper_SOURCES = tests/hypervisor/state_keeper.c
tests_hypervisor_state_keeper_CFLAGS = -std=gnu11 -O2 -g $(WARN_CFLAGS)
tests_hypervisor_state_keeper_LDFLAGS = -static
CLEANFILES += tests/hypervisor/state-keeper
EXTRA_DIST += tests/hypervisor/test-save-compare tests/hypervisor/test-save-forms tests/hypervisor/images.py tests/hypervisor/keeper.py
check_PROGRAMS += tests/fuzz/fuzz_build
tests_fuzz_fuzz_build_SOURCES = tests/fuzz/fuzz_build.c tests/fuzz/fuzz_main.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_build_LDADD = $(HYPERVISOR_LIBS) lib/libhaven.a $(QB_LIBS)
