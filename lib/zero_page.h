/* SPDX-License-Identifier: GPL-2.0-or-later */
/* zero_page.h - is a page of the guest's all zeros? */
#ifndef LIB_ZERO_PAGE_H
#define LIB_ZERO_PAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define ZERO_PAGE_OCTETS 4096u

/*
 * Of a page that nobody writes meanwhile.  Most pages that are not zero show it in their first words; the others are read once, as wide as
 * libc can: the first word is zero, and each is the one before it.
 */
static inline bool page_is_zero(const uint8_t *page)
{
	uint64_t first;

	memcpy(&first, page, sizeof(first));
	return first == 0 && memcmp(page, page + sizeof(first), ZERO_PAGE_OCTETS - sizeof(first)) == 0;
}

typedef uint64_t zero_page_words __attribute__((vector_size(16)));

/*
 * The same of a page that somebody may be writing: each word is read once.  glibc's memcmp() reads a second time where it has found a
 * difference, and calls equal what no longer differs by then, with the rest of the page unseen.
 */
static inline bool live_page_is_zero(const uint8_t *page)
{
	const volatile zero_page_words *w = (const volatile void *)page;

	for (unsigned i = 0; i < ZERO_PAGE_OCTETS / sizeof(*w); i += 8) {
		zero_page_words any = w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] | w[i + 7];

		if (any[0] | any[1])
			return false;
	}
	return true;
}

#endif
