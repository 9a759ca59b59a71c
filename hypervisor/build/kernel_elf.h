/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel_elf.h - what a PV kernel's ELF file says about itself: segments and Xen notes (<xen/elfnote.h>).
 *
 * Everything in struct kernel_elf is checked against the file; whether it fits the domain is the builder's question.
 */
#ifndef HV_BUILD_KERNEL_ELF_H
#define HV_BUILD_KERNEL_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/err.h"

#define KERNEL_MAX_SEGMENTS 16
#define NOTE_UNSET UINT64_MAX

struct kernel_segment {
	uint64_t gpa;                  /* where it goes: p_paddr less the paddr offset */
	uint64_t file_off, file_len;   /* inside the file */
	uint64_t mem_len;              /* >= file_len; the rest is zero */
};

struct kernel_elf {
	const uint8_t *p; size_t n;    /* borrowed */
	struct kernel_segment seg[KERNEL_MAX_SEGMENTS]; unsigned nr_segs;
	uint64_t gpa_start, gpa_end;   /* of all segments; not rounded */

	/* notes, defaults filled in */
	uint64_t entry;                /* virtual address */
	uint64_t virt_base;            /* virtual address of guest frame 0 */
	uint64_t init_p2m;             /* NOTE_UNSET: the p2m list goes into the initial mapping */
	uint64_t hypercall_page;       /* NOTE_UNSET: none */
	bool mod_start_pfn;            /* the ramdisk need not be mapped */
	char guest_os[32];
};

/* 0, or -errno with err: -ENOEXEC (no 64-bit x86 ELF, no PV entry), -EINVAL (malformed). */
int kernel_elf_parse(const char *name, const uint8_t *p, size_t n, struct kernel_elf *ret, struct err *err);

#endif
