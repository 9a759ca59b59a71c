# SPDX-License-Identifier: GPL-2.0-or-later
# Programs of the test bed: what runs in the demo guest (static), the client that measures it, and what measures this machine's stalls.
EXTRA_PROGRAMS += tests/testbed/demo-guest tests/testbed/guest-check tests/testbed/guest-clock tests/testbed/haven-probe \
	tests/testbed/haven-stalls
tests_testbed_demo_guest_SOURCES = tests/testbed/guest/demo-guest.c
tests_testbed_demo_guest_CFLAGS = -std=gnu11 -O2 -g $(WARN_CFLAGS)
tests_testbed_demo_guest_LDFLAGS = -static -pthread
tests_testbed_guest_check_SOURCES = tests/testbed/guest/guest-check.c
tests_testbed_guest_check_CFLAGS = -std=gnu11 -O2 -g $(WARN_CFLAGS)
tests_testbed_guest_check_LDFLAGS = -static -pthread
tests_testbed_guest_clock_SOURCES = tests/testbed/guest/guest-clock.c
tests_testbed_guest_clock_CFLAGS = -std=gnu11 -O2 -g $(WARN_CFLAGS)
tests_testbed_guest_clock_LDFLAGS = -static
tests_testbed_haven_probe_SOURCES = tests/testbed/probe.c
tests_testbed_haven_stalls_SOURCES = tests/testbed/stalls.c
tests_testbed_haven_stalls_LDFLAGS = -pthread
testbed-programs: tests/testbed/demo-guest$(EXEEXT) tests/testbed/guest-check$(EXEEXT) tests/testbed/guest-clock$(EXEEXT) tests/testbed/haven-probe$(EXEEXT) \
	tests/testbed/haven-stalls$(EXEEXT) tests/testbed/node-clock.so
.PHONY: testbed-programs
# preloaded into a node's daemons
tests/testbed/node-clock.so: tests/testbed/node-clock.c
	$(MKDIR_P) tests/testbed && $(CC) -std=gnu11 -O2 -g -fPIC -shared -o $@ $(srcdir)/tests/testbed/node-clock.c -ldl
EXTRA_DIST += tests/testbed/node-clock.c
CLEANFILES += tests/testbed/node-clock.so tests/testbed/demo-guest tests/testbed/guest-check tests/testbed/guest-clock tests/testbed/haven-probe \
	tests/testbed/haven-stalls

check_PROGRAMS += tests/unit/test_msg tests/unit/test_buf tests/unit/test_log tests/unit/test_zero_page
tests_unit_test_zero_page_SOURCES = tests/unit/test_zero_page.c
tests_unit_test_zero_page_LDADD = $(UNIT_LIBS)
tests_unit_test_log_SOURCES = tests/unit/test_log.c
tests_unit_test_log_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)
tests_unit_test_msg_SOURCES = tests/unit/test_msg.c
tests_unit_test_msg_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)
tests_unit_test_buf_SOURCES = tests/unit/test_buf.c
tests_unit_test_buf_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)

dist_check_SCRIPTS = tests/tree-rules
TESTS += tests/tree-rules
