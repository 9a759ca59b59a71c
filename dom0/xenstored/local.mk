# SPDX-License-Identifier: GPL-2.0-or-later
# the store itself, without sockets: what the tests drive
noinst_LIBRARIES += dom0/xenstored/libstore.a
dom0_xenstored_libstore_a_SOURCES = dom0/xenstored/tree.c dom0/xenstored/tree.h dom0/xenstored/txn.c dom0/xenstored/txn.h \
	dom0/xenstored/watch.c dom0/xenstored/watch.h dom0/xenstored/store_core.c dom0/xenstored/store_core.h dom0/xenstored/store_ops.c \
	dom0/xenstored/store_state.c dom0/xenstored/store_state.h dom0/xenstored/store_journal.c dom0/xenstored/store_journal.h

sbin_PROGRAMS += xenstored
xenstored_SOURCES = dom0/xenstored/xenstored_main.c dom0/xenstored/stored.h dom0/xenstored/store_socket.c \
	dom0/xenstored/store_channel.c dom0/xenstored/store_expect.c dom0/xenstored/store_part.c dom0/xenstored/store_admin.c \
	dom0/xenstored/stored_sandbox.c
xenstored_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(SECCOMP_CFLAGS)
xenstored_LDADD = dom0/xenstored/libstore.a $(HAVEN_LIBS) $(ZLIB_LIBS)

dist_systemdsystemunit_DATA += units/xenstored.service
dist_man_MANS += docs/man/xenstored.8

check_PROGRAMS += tests/unit/test_store_tree tests/unit/test_store_wire tests/fuzz/fuzz_store
tests_unit_test_store_tree_SOURCES = tests/unit/test_store_tree.c
tests_unit_test_store_tree_LDADD = dom0/xenstored/libstore.a $(HAVEN_LIBS) $(UNIT_LIBS) $(ZLIB_LIBS)
tests_unit_test_store_wire_SOURCES = tests/unit/test_store_wire.c
tests_unit_test_store_wire_LDADD = dom0/xenstored/libstore.a $(HAVEN_LIBS) $(UNIT_LIBS) $(ZLIB_LIBS)
check_PROGRAMS += tests/unit/test_stored_sandbox
tests_unit_test_stored_sandbox_SOURCES = tests/unit/test_stored_sandbox.c tests/unit/cage.h dom0/xenstored/stored_sandbox.c
tests_unit_test_stored_sandbox_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)
tests_fuzz_fuzz_store_SOURCES = tests/fuzz/fuzz_store.c tests/fuzz/fuzz_main.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_store_LDADD = dom0/xenstored/libstore.a $(HAVEN_LIBS) $(ZLIB_LIBS)
