# SPDX-License-Identifier: GPL-2.0-or-later
noinst_LIBRARIES += lib/libhaven.a
lib_libhaven_a_SOURCES = lib/err.c lib/err.h lib/log.c lib/log.h lib/buf.c lib/buf.h lib/paths.c lib/paths.h \
	lib/atomic_file.c lib/atomic_file.h lib/conf.c lib/conf.h lib/msg_packet.c lib/msg_client.c lib/msg_server.c \
	lib/msg_peer.c lib/msg.h lib/sandbox.c lib/sandbox.h lib/spawn.c lib/spawn.h
lib_libhaven_a_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(SECCOMP_CFLAGS)
# what a program that links libhaven.a needs besides
HAVEN_LIBS = lib/libhaven.a $(QB_LIBS) $(JANSSON_LIBS) $(SECCOMP_LIBS)


# the cluster's certificates: what `haven cert` and migrated share
noinst_LIBRARIES += lib/libpki.a
lib_libpki_a_SOURCES = lib/pki.c lib/pki.h
lib_libpki_a_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(OPENSSL_CFLAGS)
PKI_LIBS = lib/libpki.a $(HAVEN_LIBS) $(OPENSSL_LIBS)
check_PROGRAMS += tests/unit/test_pki
tests_unit_test_pki_SOURCES = tests/unit/test_pki.c
tests_unit_test_pki_LDADD = $(PKI_LIBS) $(UNIT_LIBS)
