/* SPDX-License-Identifier: GPL-2.0-or-later */
/* zero_page.h - is a page of the guest's all zeros? */
#ifndef LIB_ZERO_PAGE_H
#define LIB_ZERO_PAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define ZERO_PAGE_OCTETS 4096u

/*
 * Most pages that are not zero show it in their first words; the others are read once, as wide as libc can: the first word is zero, and each
 * is the one before it.
 */
static inline bool page_is_zero(const uint8_t *page)
{
	uint64_t first;

	memcpy(&first, page, sizeof(first));
	return first == 0 && memcmp(page, page + sizeof(first), ZERO_PAGE_OCTETS - sizeof(first)) == 0;
}

#endif
