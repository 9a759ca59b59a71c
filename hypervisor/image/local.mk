# SPDX-License-Identifier: GPL-2.0-or-later
noinst_LIBRARIES += hypervisor/image/libimage.a
hypervisor_image_libimage_a_SOURCES = hypervisor/image/image.c hypervisor/image/image.h
hypervisor_image_libimage_a_CFLAGS = $(AM_CFLAGS) $(OPENSSL_CFLAGS)

havenlibexec_PROGRAMS += haven-image-check
haven_image_check_SOURCES = hypervisor/image/image_check_main.c
haven_image_check_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(SECCOMP_CFLAGS)
haven_image_check_LDADD = hypervisor/image/libimage.a $(HAVEN_LIBS) $(OPENSSL_LIBS)

check_PROGRAMS += tests/unit/test_image
tests_unit_test_image_SOURCES = tests/unit/test_image.c
tests_unit_test_image_LDADD = hypervisor/image/libimage.a lib/libhaven.a $(QB_LIBS) $(OPENSSL_LIBS) $(UNIT_LIBS)
