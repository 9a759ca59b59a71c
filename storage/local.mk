# SPDX-License-Identifier: GPL-2.0-or-later
havenlibexec_PROGRAMS += haven-storage haven-hv-disk
haven_storage_SOURCES = storage/storage_main.c storage/disk_local.c storage/disk_local.h storage/iscsi_check.c storage/iscsi_check.h \
	storage/iscsi_conf.c storage/iscsi_conf.h storage/iscsi_session.c storage/iscsi_session.h storage/hv_disk_sandbox.c storage/hv_disk_sandbox.h
haven_storage_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(ISCSI_CFLAGS) $(SECCOMP_CFLAGS)
haven_storage_LDADD = $(HAVEN_LIBS) $(ISCSI_LIBS)

haven_hv_disk_SOURCES = storage/hv_disk_main.c storage/iscsi_lun.c storage/iscsi_lun.h storage/iscsi_session.c storage/iscsi_session.h \
	storage/iscsi_conf.c storage/iscsi_conf.h storage/hv_disk_sandbox.c storage/hv_disk_sandbox.h lib/proto/hv_disk.h
haven_hv_disk_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(ISCSI_CFLAGS) $(SECCOMP_CFLAGS)
haven_hv_disk_LDADD = $(HAVEN_LIBS) $(ISCSI_LIBS)

check_PROGRAMS += tests/unit/test_hv_disk_sandbox
tests_unit_test_hv_disk_sandbox_SOURCES = tests/unit/test_hv_disk_sandbox.c tests/unit/cage.h storage/hv_disk_sandbox.c \
	storage/hv_disk_sandbox.h
tests_unit_test_hv_disk_sandbox_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)

dist_man_MANS += docs/man/haven-storage.8 docs/man/haven-hv-disk.8
