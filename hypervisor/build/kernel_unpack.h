/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel_unpack.h - from a kernel file to the ELF image inside it.
 *
 * Takes a bzImage (payload gzip, XZ, LZ4 or ZSTD compressed, or stored), a gzip'ed ELF or a plain ELF.  The file is the
 * guest owner's, hence hostile: offsets are checked, the output is bounded by max_out, the decoders' memory is bounded.
 */
#ifndef HV_BUILD_KERNEL_UNPACK_H
#define HV_BUILD_KERNEL_UNPACK_H

#include <stddef.h>
#include <stdint.h>
#include "lib/err.h"

#define KERNEL_UNPACKED_MAX (512UL << 20)

struct kernel_image {
	const uint8_t *elf; size_t elf_len;
	void *map; size_t map_len;            /* what kernel_image_free() gives back; NULL when elf points into the file */
};

/*
 * `name` is the file's, for messages.  0, with ret->elf pointing into p or into memory of its own (p must live as long as ret),
 * or -errno with err filled: -ENOEXEC (no kernel), -E2BIG, -EINVAL (damaged), -ENOTSUP (compression), -ENOMEM.
 */
int kernel_unpack(const char *name, const uint8_t *p, size_t n, size_t max_out, struct kernel_image *ret, struct err *err);
void kernel_image_free(struct kernel_image *k);          /* idempotent */

#endif
