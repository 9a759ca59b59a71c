/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * source_code.c - what the guest runs is named to the target, which makes it ready while the guest still runs here (docs/adr/0012-code-made-ahead.md).
 *
 * Twice: as the first round begins, what ran since the two nodes met, behind the pages that it is in, so that the target has the round for
 * it; and after the round what else ran meanwhile.  A move is no worse for what is not told.
 */
#include "config.h"
#include "migrated/move_source.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/deadlines.h"
#include "lib/log.h"

#define BLOCK_NS 10000u                       /* that a translation takes the target, and a little */
#define LEAD_MAX_NS (100 * NS_PER_MS)         /* the guest runs on for no longer than that for them */
#define LIST_HEAD 8u                          /* octets: how many pages, and a zero */

int source_watch_code(struct source *s, struct err *err)
{
	struct err why = { 0 };
	int rc;

	s->w->answered = false;
	rc = source_channel_call(s, "code-watch", NULL, &why);
	return rc < 0 && !s->w->answered ? err_set(err, why.code, "%s", why.text) : 0;
}

/* hv-domain's list, octets of it; 0: there is none. */
static ssize_t read_list(struct source *s, uint8_t list[STREAM_CODE_MAX], struct err *err)
{
	struct err why = { 0 };
	int fd = -1, rc;
	ssize_t n;

	s->w->answered = false;
	rc = source_channel_call(s, "code-list", &fd, &why);
	n = rc < 0 ? -1 : pread(fd, list, STREAM_CODE_MAX, 0);
	if (fd >= 0)
		close(fd);
	if (rc < 0 && !s->w->answered)
		return err_set(err, why.code, "%s", why.text);
	if (n >= LIST_HEAD)
		return n;
	log_info("%s: its code is not told to %s: %s", s->uuid, s->target, rc < 0 ? why.text : "none is listed");
	return 0;
}

/*
 * The frames that a list names, as a bitmap; how many blocks.  It is hv-domain's, which its guest may have taken over: what it says of frames that
 * are no memory is not looked at, nor what follows where it makes no sense.
 */
static uint64_t frames_of(const struct source *s, const uint8_t *list, size_t n, uint64_t *map)
{
	struct reader r;
	uint64_t blocks = 0;
	uint32_t pages;

	reader_init(&r, list, n);
	pages = reader_u32(&r);
	reader_u32(&r);
	for (uint32_t i = 0; i < pages && reader_ok(&r); i++) {
		uint64_t frame;
		uint16_t here;

		reader_u64(&r);
		frame = reader_u64(&r);
		reader_u16(&r);
		here = reader_u16(&r);
		reader_u32(&r);
		if (!reader_view(&r, 2 * (size_t)here))
			break;
		if (frame < s->ram_pages)
			map[frame / 64] |= 1ull << (frame % 64);
		blocks += here;
	}
	return blocks;
}

static int tell(struct source *s, bool with_pages, uint64_t *ret_blocks, struct err *err)
{
	static uint8_t list[STREAM_CODE_MAX];
	ssize_t n = read_list(s, list, err);
	uint64_t *map;
	int rc = 0;

	*ret_blocks = 0;
	if (n <= 0)
		return (int)n;
	map = calloc(s->words, sizeof(*map));
	if (!map)
		return err_set(err, -ENOMEM, "out of memory");
	*ret_blocks = frames_of(s, list, (size_t)n, map);
	if (*ret_blocks && with_pages)
		rc = source_send_beforehand(s, map, err);
	free(map);
	if (rc < 0 || !*ret_blocks)
		return rc;
	log_debug("%s: %llu blocks of code told", s->uuid, (unsigned long long)*ret_blocks);
	rc = link_record(&s->w->link, STREAM_CODE, list, (uint32_t)n);
	return rc < 0 ? worker_link_error(s->w, rc, err) : 0;
}

int source_tell_code(struct source *s, bool begins, struct err *err)
{
	uint64_t blocks, now;
	int rc;

	if (s->accept.version < STREAM_VERSION_RESUME || (begins && s->codes < 2))
		return 0;
	rc = tell(s, begins, &blocks, err);
	now = link_now_ns();
	s->code_ready_ns = (s->code_ready_ns > now ? s->code_ready_ns : now) + blocks * BLOCK_NS;
	if (!begins && s->code_ready_ns > now + LEAD_MAX_NS)
		s->code_ready_ns = now + LEAD_MAX_NS;
	return rc;
}

bool source_code_needs_time(const struct source *s)
{
	uint64_t now = link_now_ns();
	struct timespec ts = { 0 };

	if (s->code_ready_ns < now + NS_PER_MS)
		return false;
	ts.tv_nsec = (long)(s->code_ready_ns - now);
	nanosleep(&ts, NULL);
	return true;
}
