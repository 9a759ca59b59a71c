# SPDX-License-Identifier: GPL-2.0-or-later
sbin_PROGRAMS += xl
xl_SOURCES = dom0/xl/xl.h dom0/xl/xl_main.c dom0/xl/xl_ask.c dom0/xl/xl_store.c dom0/xl/xl_list.c dom0/xl/xl_info.c \
	dom0/xl/xl_change.c dom0/xl/xl_console.c dom0/xl/xl_domain.c dom0/xl/xl_format.c dom0/xl/xl_format.h dom0/xl/xl_migrate.c \
	dom0/xl/xl_parse.c dom0/xl/xl_parse.h
xl_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
xl_LDADD = $(HAVEN_LIBS)

check_PROGRAMS += tests/unit/test_xl_format
tests_unit_test_xl_format_SOURCES = tests/unit/test_xl_format.c dom0/xl/xl_format.c
tests_unit_test_xl_format_LDADD = $(JANSSON_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_xl_parse
tests_unit_test_xl_parse_SOURCES = tests/unit/test_xl_parse.c dom0/xl/xl_parse.c
tests_unit_test_xl_parse_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)
