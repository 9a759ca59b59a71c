/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel_unpack.h - from a kernel file to the ELF image inside it.
 *
 * Takes a bzImage (payload gzip, XZ, LZ4 or ZSTD compressed, or stored), a gzip'ed ELF or a plain ELF.  The file is the
 * guest owner's, hence hostile: offsets are checked, the output is bounded by max_out, the decoders' memory is bounded.
 */
#ifndef HV_BUILD_KERNEL_UNPACK_H
#define HV_BUILD_KERNEL_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/err.h"

#define KERNEL_UNPACKED_MAX (512UL << 20)

struct kernel_image {
	const uint8_t *elf; size_t elf_len;
	void *map; size_t map_len;            /* what kernel_image_free() gives back; NULL when elf points into the file or the room */
	size_t touched;                       /* bytes of the room that may have been written, also after an error */
};

/* Memory of the caller's to unpack into.  need and each may be NULL. */
struct kernel_room {
	uint8_t *p; size_t max;
	void (*need)(void *arg, size_t upto);  /* p[0..upto) is about to be written */
	/* calls fn(job, i) for each i below n, on several threads at once, and returns when all have returned */
	void (*each)(void *arg, unsigned n, void (*fn)(void *job, unsigned i), void *job);
	void *arg;
};

/*
 * `name` is the file's, for messages.  0, with ret->elf pointing into p or into memory of its own (p must live as long as ret),
 * or -errno with err filled: -ENOEXEC (no kernel), -E2BIG, -EINVAL (damaged), -ENOTSUP (compression), -ENOMEM.
 */
int kernel_unpack(const char *name, const uint8_t *p, size_t n, size_t max_out, struct kernel_image *ret, struct err *err);
/* The same, but what has to be unpacked is unpacked into `room`: ret->elf == room->p then, and -E2BIG means that it is too small. */
int kernel_unpack_into(const char *name, const uint8_t *p, size_t n, const struct kernel_room *room, struct kernel_image *ret,
		       struct err *err);
/*
 * Where in a guest's memory the image is best unpacked to, so that most of it lies where its segments belong, and where it ends
 * with what it needs to start: a guess from the first page of the file (a bzImage's header).  false: it does not say.
 */
bool kernel_place(const uint8_t *p, size_t n, uint64_t *ret_gpa, uint64_t *ret_end);
void kernel_image_free(struct kernel_image *k);          /* idempotent */

#endif
