# SPDX-License-Identifier: GPL-2.0-or-later
havenlibexec_PROGRAMS += haven-storage
haven_storage_SOURCES = storage/storage_main.c storage/disk_local.c storage/disk_local.h
haven_storage_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
haven_storage_LDADD = $(HAVEN_LIBS)
