# SPDX-License-Identifier: GPL-2.0-or-later
noinst_LIBRARIES += lib/libhaven.a
lib_libhaven_a_SOURCES = lib/err.c lib/err.h lib/log.c lib/log.h lib/buf.c lib/buf.h lib/clock.h lib/crm_run.c lib/crm_run.h lib/fd_write.h lib/huge.h lib/zero_page.h lib/paths.c lib/paths.h \
	lib/atomic_file.c lib/atomic_file.h lib/conf.c lib/conf.h lib/daemon.c lib/daemon.h lib/msg_packet.c lib/msg_client.c lib/msg_server.c \
	lib/msg_peer.c lib/msg.h lib/hold.c lib/hold.h lib/hurry.c lib/hurry_share.c lib/hurry.h lib/sandbox.c lib/sandbox.h lib/spawn.c lib/spawn.h lib/grant.c lib/grant.h \
	lib/move_policy.c lib/move_policy.h lib/migration_net.c lib/migration_net.h lib/deadlines.c lib/deadlines.h lib/vdev.c lib/vdev.h lib/cpulist.c lib/cpulist.h lib/xlcfg.c lib/xlcfg.h lib/xlcfg_disk.c lib/xlcfg_keys.c lib/xlcfg_keys.h \
	lib/xlcfg_cpuid.c lib/xlcfg_cpuid.h lib/xlcfg_syntax.c lib/xlcfg_syntax.h lib/xlcfg_vif.c
lib_libhaven_a_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(SECCOMP_CFLAGS) $(UUID_CFLAGS)
# what a program that links libhaven.a needs besides
HAVEN_LIBS = lib/libhaven.a $(QB_LIBS) $(JANSSON_LIBS) $(SECCOMP_LIBS) $(UUID_LIBS)


# the cluster's certificates: what `haven cert` and migrated share
noinst_LIBRARIES += lib/libpki.a
lib_libpki_a_SOURCES = lib/pki.c lib/pki.h
lib_libpki_a_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(OPENSSL_CFLAGS)
PKI_LIBS = lib/libpki.a $(HAVEN_LIBS) $(OPENSSL_LIBS)
check_PROGRAMS += tests/unit/test_pki
tests_unit_test_pki_SOURCES = tests/unit/test_pki.c
tests_unit_test_pki_LDADD = $(PKI_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_hurry
tests_unit_test_hurry_SOURCES = tests/unit/test_hurry.c
tests_unit_test_hurry_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_migration_net
tests_unit_test_migration_net_SOURCES = tests/unit/test_migration_net.c
tests_unit_test_migration_net_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_xlcfg tests/unit/test_vdev tests/unit/test_move_policy
tests_unit_test_move_policy_SOURCES = tests/unit/test_move_policy.c
tests_unit_test_move_policy_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)
tests_unit_test_xlcfg_SOURCES = tests/unit/test_xlcfg.c
tests_unit_test_xlcfg_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)
tests_unit_test_vdev_SOURCES = tests/unit/test_vdev.c
tests_unit_test_vdev_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)

# fuzz targets: a short mutation run in `make check`; with clang -fsanitize=fuzzer they link without fuzz_main.c
check_PROGRAMS += tests/fuzz/fuzz_xlcfg
tests_fuzz_fuzz_xlcfg_SOURCES = tests/fuzz/fuzz_xlcfg.c tests/fuzz/fuzz_main.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_xlcfg_LDADD = $(HAVEN_LIBS)

dist_man_MANS += docs/man/haven-xl.cfg.5
