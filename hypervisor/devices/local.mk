# SPDX-License-Identifier: GPL-2.0-or-later
noinst_LIBRARIES += hypervisor/devices/libdevices.a
hypervisor_devices_libdevices_a_SOURCES = hypervisor/devices/io_loop.c
