# SPDX-License-Identifier: GPL-2.0-or-later
check_PROGRAMS += tests/unit/test_precopy
tests_unit_test_precopy_SOURCES = tests/unit/test_precopy.c migrated/precopy.c migrated/precopy.h
tests_unit_test_precopy_LDADD = $(UNIT_LIBS)
