# SPDX-License-Identifier: GPL-2.0-or-later
sbin_PROGRAMS += xenconsoled
xenconsoled_SOURCES = dom0/xenconsoled/xenconsoled_main.c dom0/xenconsoled/console.c dom0/xenconsoled/console.h \
	dom0/xenconsoled/console_log.c dom0/xenconsoled/console_log.h
xenconsoled_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(SECCOMP_CFLAGS)
xenconsoled_LDADD = $(HAVEN_LIBS)

dist_systemdsystemunit_DATA += units/xenconsoled.service
dist_man_MANS += docs/man/xenconsoled.8
