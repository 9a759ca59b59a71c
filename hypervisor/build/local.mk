# SPDX-License-Identifier: GPL-2.0-or-later
noinst_LIBRARIES += libhvbuild.a
libhvbuild_a_SOURCES = hypervisor/build/kernel_unpack.c hypervisor/build/kernel_unpack.h \
	hypervisor/build/kernel_elf.c hypervisor/build/kernel_elf.h \
	hypervisor/build/pv_start.c hypervisor/build/pv_start.h \
	hypervisor/domain.c hypervisor/domain_new.h
libhvbuild_a_CFLAGS = $(AM_CFLAGS) $(LZMA_CFLAGS) $(LZ4_CFLAGS) $(ZSTD_CFLAGS) $(ZLIB_CFLAGS)
HVBUILD_LIBS = libhvbuild.a $(LZMA_LIBS) $(LZ4_LIBS) $(ZSTD_LIBS) $(ZLIB_LIBS)
