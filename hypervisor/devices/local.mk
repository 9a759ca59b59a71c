# SPDX-License-Identifier: GPL-2.0-or-later
noinst_LIBRARIES += hypervisor/devices/libdevices.a
hypervisor_devices_libdevices_a_SOURCES = hypervisor/devices/io_loop.c hypervisor/devices/io_loop.h \
	hypervisor/devices/devices.c hypervisor/devices/devices.h hypervisor/devices/device_priv.h \
	hypervisor/devices/xs_client.c hypervisor/devices/xs_client.h hypervisor/devices/xenbus_back.c \
	hypervisor/devices/store_ring.c hypervisor/devices/console_ring.c \
	hypervisor/devices/vbd.c hypervisor/devices/blk_pool.c hypervisor/devices/blk_pool.h \
	hypervisor/devices/blk_remote.c hypervisor/devices/blk_remote.h \
	hypervisor/devices/vif.c hypervisor/devices/netpkt.c hypervisor/devices/netpkt.h

ENGINE_NONE = tests/unit/engine_none.c tests/unit/engine_none.h
DEVICES_TEST = tests/unit/devices_guest.c tests/unit/devices_guest.h $(ENGINE_NONE) hypervisor/domain.c
DEVICES_TEST_LIBS = hypervisor/devices/libdevices.a $(ABI_LIBS) hypervisor/libvcpu.a $(HAVEN_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_devices tests/unit/test_store_ring tests/unit/test_console_ring tests/unit/test_vbd tests/unit/test_vif
tests_unit_test_devices_SOURCES = tests/unit/test_devices.c $(DEVICES_TEST)
tests_unit_test_devices_LDADD = $(DEVICES_TEST_LIBS)
tests_unit_test_store_ring_SOURCES = tests/unit/test_store_ring.c $(DEVICES_TEST)
tests_unit_test_store_ring_LDADD = $(DEVICES_TEST_LIBS)
tests_unit_test_console_ring_SOURCES = tests/unit/test_console_ring.c $(DEVICES_TEST)
tests_unit_test_console_ring_LDADD = $(DEVICES_TEST_LIBS)
tests_unit_test_vbd_SOURCES = tests/unit/test_vbd.c $(DEVICES_TEST)
tests_unit_test_vbd_LDADD = $(DEVICES_TEST_LIBS)
tests_unit_test_vif_SOURCES = tests/unit/test_vif.c $(DEVICES_TEST)
tests_unit_test_vif_LDADD = $(DEVICES_TEST_LIBS)

check_PROGRAMS += tests/unit/test_blk_pool
tests_unit_test_blk_pool_SOURCES = tests/unit/test_blk_pool.c
tests_unit_test_blk_pool_LDADD = hypervisor/devices/libdevices.a $(HAVEN_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_netpkt
tests_unit_test_netpkt_SOURCES = tests/unit/test_netpkt.c
tests_unit_test_netpkt_LDADD = hypervisor/devices/libdevices.a $(UNIT_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_devices
tests_fuzz_fuzz_devices_SOURCES = tests/fuzz/fuzz_devices.c tests/fuzz/fuzz_main.c tests/fuzz/fuzz.h $(ENGINE_NONE) hypervisor/domain.c
tests_fuzz_fuzz_devices_LDADD = hypervisor/devices/libdevices.a $(ABI_LIBS) hypervisor/libvcpu.a $(HAVEN_LIBS)
