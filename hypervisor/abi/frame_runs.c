/* SPDX-License-Identifier: GPL-2.0-or-later */
/* frame_runs.c - see frame_runs.h. */
#include "hypervisor/abi/frame_runs.h"

#include <string.h>

#define PT_LEVELS 4u

struct run { uint64_t first, frames; uint32_t value; };

/* ---- writing ---- */

struct list { struct buf *out; size_t count_at; uint32_t runs; };

static struct list list_begin(struct buf *out)
{
	struct list l = { .out = out, .count_at = out->len };

	buf_u32(out, 0);
	return l;
}

static void list_add(struct list *l, uint64_t first, uint64_t frames, uint32_t value)
{
	buf_u64(l->out, first);
	buf_u32(l->out, (uint32_t)frames);       /* DOMAIN_MAX_PAGES fits */
	buf_u32(l->out, value);
	l->runs++;
}

static void list_end(const struct list *l) { buf_put_u32_at(l->out, l->count_at, l->runs); }

/* The first frame from `at` on that is held, or that is not; max_pages: there is none. */
static uint64_t next_held(const struct domain *d, uint64_t at, bool held)
{
	while (at < d->max_pages) {
		uint64_t bits = __atomic_load_n(&d->populated[at / 64], __ATOMIC_RELAXED), found = (held ? bits : ~bits) >> (at % 64);

		if (found) {
			at += (uint64_t)__builtin_ctzll(found);
			break;
		}
		at = (at | 63) + 1;
	}
	return at < d->max_pages ? at : d->max_pages;
}

static void save_held(const struct domain *d, struct buf *out)
{
	struct list l = list_begin(out);

	for (uint64_t at = next_held(d, 0, true), end; at < d->max_pages; at = next_held(d, end, true)) {
		end = next_held(d, at, false);
		list_add(&l, at, end - at, 1);
	}
	list_end(&l);
}

/* The first page table from `at` on; most octets are 0, and eight of them are looked at in one. */
static uint64_t next_table(const struct domain *d, uint64_t at)
{
	uint64_t eight = 0;

	while (at + 8 <= d->max_pages) {
		memcpy(&eight, d->pt_type + at, 8);
		if (eight)
			return at + (uint64_t)__builtin_ctzll(eight) / 8;      /* little-endian: the lowest is the first */
		at += 8;
	}
	while (at < d->max_pages && !d->pt_type[at])
		at++;
	return at;
}

static void save_tables(const struct domain *d, struct buf *out)
{
	struct list l = list_begin(out);

	for (uint64_t at = next_table(d, 0), end; at < d->max_pages; at = next_table(d, end)) {
		for (end = at + 1; end < d->max_pages && d->pt_type[end] == d->pt_type[at]; )
			end++;
		list_add(&l, at, end - at, d->pt_type[at]);
	}
	list_end(&l);
}

void frame_runs_save(const struct domain *d, struct buf *out)
{
	save_held(d, out);
	save_tables(d, out);
}

/* ---- reading ---- */

/* In ascending order, within RAM, values 1 … most. */
static bool run_read(const struct domain *d, struct reader *r, uint64_t after, uint32_t most, struct run *ret)
{
	ret->first = reader_u64(r);
	ret->frames = reader_u32(r);
	ret->value = reader_u32(r);
	return reader_ok(r) && ret->first >= after && ret->first < d->max_pages && ret->frames && ret->frames <= d->max_pages - ret->first &&
	       ret->value && ret->value <= most;
}

static void bits_set(uint64_t *bits, uint64_t first, uint64_t n)
{
	while (n > 0) {
		uint64_t shift = first % 64, here = n < 64 - shift ? n : 64 - shift;

		bits[first / 64] |= (here < 64 ? (1ull << here) - 1 : ~0ull) << shift;
		first += here;
		n -= here;
	}
}

bool frame_runs_load(const struct domain *d, struct reader *r, uint64_t *populated, uint8_t *pt_type)
{
	struct run run = { 0 };
	uint32_t held = reader_u32(r), tables;

	for (uint32_t i = 0; i < held && reader_ok(r); i++) {
		if (!run_read(d, r, run.first + run.frames, 1, &run))
			return false;
		bits_set(populated, run.first, run.frames);
	}
	run = (struct run){ 0 };
	tables = reader_u32(r);
	for (uint32_t i = 0; i < tables && reader_ok(r); i++) {
		if (!run_read(d, r, run.first + run.frames, PT_LEVELS, &run))
			return false;
		memset(pt_type + run.first, (int)run.value, run.frames);
	}
	return reader_ok(r);
}
