# SPDX-License-Identifier: GPL-2.0-or-later
# libkernel: the kernel file, pure.  libhvbuild: domain and start of day, which call the ABI.
noinst_LIBRARIES += hypervisor/build/libkernel.a hypervisor/build/libhvbuild.a
hypervisor_build_libkernel_a_SOURCES = hypervisor/build/kernel_unpack.c hypervisor/build/kernel_unpack.h \
	hypervisor/build/kernel_elf.c hypervisor/build/kernel_elf.h
hypervisor_build_libkernel_a_CFLAGS = $(AM_CFLAGS) $(LZMA_CFLAGS) $(LZ4_CFLAGS) $(ZSTD_CFLAGS) $(ZLIB_CFLAGS)
hypervisor_build_libhvbuild_a_SOURCES = hypervisor/build/pv_start.c hypervisor/build/pv_start.h hypervisor/domain.c \
	hypervisor/domain_new.h hypervisor/build/ram_ready.c hypervisor/build/ram_ready.h
HVBUILD_LIBS = hypervisor/build/libhvbuild.a hypervisor/build/libkernel.a $(LZMA_LIBS) $(LZ4_LIBS) $(ZSTD_LIBS) $(ZLIB_LIBS)

check_PROGRAMS += tests/unit/test_kernel_image
tests_unit_test_kernel_image_SOURCES = tests/unit/test_kernel_image.c
tests_unit_test_kernel_image_LDADD = hypervisor/build/libkernel.a lib/libhaven.a $(QB_LIBS) $(LZMA_LIBS) $(LZ4_LIBS) \
	$(ZSTD_LIBS) $(ZLIB_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_kernel
tests_fuzz_fuzz_kernel_SOURCES = tests/fuzz/fuzz_kernel.c tests/fuzz/fuzz_main.c tests/fuzz/fuzz.h
tests_fuzz_fuzz_kernel_LDADD = hypervisor/build/libkernel.a lib/libhaven.a $(QB_LIBS) $(LZMA_LIBS) $(LZ4_LIBS) $(ZSTD_LIBS) $(ZLIB_LIBS)
