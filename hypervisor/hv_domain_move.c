/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv_domain_move.c - the migration channel (docs/specs/messages.md): what one worker may ask of one domain.
 *
 * Whoever holds the other end is the worker; there is one channel at a time.  Its end is an event of its own:
 *   running       the dirty log goes off, nothing else changes
 *   paused        the guest resumes, asking nobody
 *   handed        stays
 *   incoming, ready   the process exits; nothing of the copy remains (but a ready one without a cluster, which waits for a word: ADR 7)
 */
#include "hypervisor/hv_domain.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "hypervisor/engine/bt/cpuid.h"
#include "hypervisor/hv_domain_ahead.h"
#include "hypervisor/hv_domain_image.h"
#include "hypervisor/hv_domain_pages.h"
#include "hypervisor/vcpu_thread.h"
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/deadlines.h"
#include "lib/log.h"

#define CODE_LIST_MAX 65536u                   /* as the stream's CODE */

struct hv_move {
	struct msg_server *server;             /* serves one connection, ours */
	bool incoming;
	bool preserved;                        /* an end of the guest's own is no reason not to move */
	bool logging;
	bool all_dirty;                        /* no round was read since dirty-start: everything counts */
	struct msg_call *waiting;              /* the request under way: pause, state-save or state-load */
};

/*
 * A memfd with n bytes; -errno.  Who gets it reads it with pread and checks what it says, so that its size is sealed and its content is not:
 * F_SEAL_WRITE waits until no processor has a page of it at hand, which now and then takes 5 to 25 ms of a pause.
 */
static int memfd_of(const char *name, const void *p, size_t n)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), rc;

	if (fd < 0)
		return -errno;
	for (size_t done = 0; done < n; ) {
		ssize_t r = write(fd, (const uint8_t *)p + done, n - done);

		if (r <= 0) {
			rc = r < 0 ? -errno : -EIO;
			close(fd);
			return rc;
		}
		done += (size_t)r;
	}
	lseek(fd, 0, SEEK_SET);
	fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
	return fd;
}

static void reply_memfd(struct msg_call *c, json_t *fields, int fd)
{
	if (fd < 0) {
		json_decref(fields);
		msg_error(c, fd, "hv-domain: no memory for the reply");
		return;
	}
	msg_reply_fds(c, fields, &fd, 1);
	close(fd);
}

/* --- both sides ---------------------------------------------------------------------------------------------------------- */

/* What the guest was started with, by name: less than the node has, where a baseline or its xl.cfg says so. */
static json_t *guest_features(void)
{
	json_t *list = json_array();
	const char *names[256];
	size_t n = cpuid_policy_features(cpuid_policy_used(), names, 256);

	for (size_t i = 0; i < n && i < 256; i++)
		json_array_append_new(list, json_string(names[i]));
	return list;
}

static void op_info(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	struct domain *d = h->d;
	json_t *fields = json_pack("{s:I, s:I, s:i, s:i, s:s}", "ram_pages", (json_int_t)d->max_pages, "special_pages",
				   (json_int_t)d->nr_special, "page_size", (int)PAGE_SIZE_HV, "vcpus", (int)d->nr_vcpus,
				   "copy", copy_state_name(h->copy.state));
	int fd = memfd_of("haven-populated", d->populated, (d->max_pages + 63) / 64 * 8);

	json_object_set_new(fields, "postcopy", json_boolean(hv_pages_possible(h)));
	if (h->have_guest)
		json_object_set_new(fields, "cpu_features", guest_features());
	reply_memfd(c, fields, fd);
}

/* --- source -------------------------------------------------------------------------------------------------------------- */

static bool source_only(struct msg_call *c, struct hv *h)
{
	if (!h->move->incoming)
		return true;
	msg_error(c, -EPERM, "domain %u: this is the target's copy", h->d->domid);
	return false;
}

static int log_set(struct hv *h, bool on)
{
	int rc = h->d->engine->dirty_log(h->d, on ? DIRTY_LOG_ON : DIRTY_LOG_OFF);

	if (!rc)
		h->move->logging = on;
	return rc;
}

static void op_dirty_start(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	int rc;

	if (!source_only(c, h))
		return;
	rc = log_set(h, true);
	h->move->all_dirty = true;
	if (rc)
		msg_error(c, rc, "domain %u: the dirty log does not start: %s", h->d->domid, strerror(-rc));
	else
		msg_reply(c, NULL);
}

static void op_dirty_stop(struct msg_call *c, void *arg)
{
	struct hv *h = arg;

	if (!source_only(c, h))
		return;
	log_set(h, false);
	msg_reply(c, NULL);
}

/* The migration channel's alone: whatever ends the channel, or the guest's run here, gives the guest its time back. */
static void op_throttle(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	int64_t thousandths;

	if (!source_only(c, h) || !msg_call_int(c, "thousandths", &thousandths))
		return;
	if (thousandths < 0 || thousandths > 999)
		msg_error(c, -EINVAL, "thousandths: 0 to 999");
	else if (thousandths && h->copy.state != COPY_RUNNING)
		msg_error(c, -EPERM, "domain %u: throttle: the copy is %s", h->d->domid, copy_state_name(h->copy.state));
	else {
		vcpu_threads_throttle(h->d, (unsigned)thousandths);
		msg_reply(c, NULL);
	}
}

static uint64_t bits_count(const uint64_t *w, size_t words)
{
	uint64_t n = 0;

	for (size_t i = 0; i < words; i++)
		n += (uint64_t)__builtin_popcountll(w[i]);
	return n;
}

/* All frames the guest holds, and all special ones. */
static void bits_all(const struct domain *d, uint64_t *bits)
{
	for (uint64_t w = 0; w < (d->max_pages + 63) / 64; w++)
		bits[w] |= d->populated[w];
	for (uint64_t i = d->max_pages; i < domain_nr_frames(d); i++)
		bits[i / 64] |= 1UL << (i % 64);
}

static void bitmap_reply(struct msg_call *c, struct hv *h, json_t *fields)
{
	size_t words = (domain_nr_frames(h->d) + 63) / 64;
	uint64_t *bits = calloc(words, sizeof *bits);
	int rc = bits ? h->d->engine->dirty_sync(h->d, bits) : -ENOMEM;

	if (rc) {
		json_decref(fields);
		msg_error(c, rc, "domain %u: the dirty log cannot be read: %s", h->d->domid, strerror(-rc));
	} else {
		if (h->move->all_dirty)
			bits_all(h->d, bits);
		h->move->all_dirty = false;
		json_object_set_new(fields, "pages", json_integer((json_int_t)bits_count(bits, words)));
		reply_memfd(c, fields, memfd_of("haven-dirty", bits, words * sizeof *bits));
	}
	free(bits);
}

static void op_dirty_round(struct msg_call *c, void *arg)
{
	struct hv *h = arg;

	if (!source_only(c, h))
		return;
	if (!h->move->logging)
		msg_error(c, -EPERM, "domain %u: dirty-round before dirty-start", h->d->domid);
	else
		bitmap_reply(c, h, json_object());
}

static void op_code_watch(struct msg_call *c, void *arg)
{
	struct hv *h = arg;

	if (!source_only(c, h))
		return;
	if (h->d->engine->code_watch)
		h->d->engine->code_watch(h->d);
	msg_reply(c, NULL);
}

/* What code ran since code-watch and was not listed, for the target to have it ready. */
static void op_code_list(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	struct buf list = BUF_INIT(CODE_LIST_MAX);
	int rc = -EOPNOTSUPP;

	if (!source_only(c, h))
		return;
	if (h->d->engine->code_list)
		rc = h->d->engine->code_list(h->d, &list);
	if (rc)
		msg_error(c, rc, "domain %u: what runs cannot be listed: %s", h->d->domid, strerror(-rc));
	else
		reply_memfd(c, json_object(), memfd_of("haven-code-list", list.data, list.len));
	buf_free(&list);
}

struct waiting { uint64_t ns; char vdev[32]; };

static int io_waiting(struct hv *h, void *arg)
{
	struct waiting *w = arg;

	w->ns = devices_waiting_ns(h->ds, w->vdev, sizeof w->vdev);
	return 0;
}

/*
 * Requests under way do not travel, so a guest whose disk does not answer would stand still in vain until the move gave it up.  It is
 * left alone instead, and the move ends at once; false: that was said to c.
 */
static bool disks_answer(struct msg_call *c, struct hv *h)
{
	struct waiting w = { 0 };

	if (!h->serving)
		return true;
	hv_io_call(h, io_waiting, &w);
	if (w.ns < (uint64_t)deadline(DL_SILENT_DISK) * 1000000)
		return true;
	msg_error(c, -EBUSY, "domain %u: its disk %s has not answered for %.0f s, and what is asked of it cannot be taken along; the domain "
		  "moves when it answers again, or when io_timeout has given up", h->d->domid, w.vdev, (double)w.ns / 1e9);
	return false;
}

static uint64_t pause_ns, pause_realtime_ns;

static void pause_quiet(struct hv *h, int rc, void *arg)
{
	struct msg_call *c = h->move ? h->move->waiting : NULL;

	if (!c)
		return;                        /* the worker has gone; the channel's end dealt with the rest */
	h->move->waiting = NULL;
	if (rc) {
		msg_error(c, rc, "domain %u: its disks do not come to rest: %s", h->d->domid, strerror(-rc));
		return;
	}
	bitmap_reply(c, h, json_pack("{s:I, s:I}", "pause_ns", (json_int_t)pause_ns, "pause_realtime_ns",
				     (json_int_t)pause_realtime_ns));
}

static void op_pause(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	struct err err = { 0 };

	if (!source_only(c, h))
		return;
	if (h->move->waiting)
		msg_error(c, -EBUSY, "domain %u: another request is under way", h->d->domid);
	else if (atomic_load(&h->d->shutdown_reason) != DOMAIN_RUNNING && !h->move->preserved)
		msg_error(c, -EPERM, "domain %u: the guest is shutting down by itself", h->d->domid);
	else if (!disks_answer(c, h))
		return;
	else if (copy_apply(&h->copy, COPY_MOVE_PAUSE, 0, NULL, &err))
		msg_error_from(c, &err);
	else {
		h->move->waiting = c;
		vcpu_threads_throttle(h->d, 0);
		pause_ns = monotonic_ns();
		pause_realtime_ns = hv_realtime_ns();
		hv_changed(h);
		hv_quiesce(h, pause_quiet, NULL);
	}
}

static void save_store(struct hv *h, int store_fd, const struct err *err, void *arg)
{
	struct msg_call *c = h->move ? h->move->waiting : NULL;
	struct image_header hdr = { IMAGE_STATE, h->d->domid, hv_realtime_ns(), h->d->max_pages, h->d->nr_special };
	struct image_writer w;
	int fd, rc;

	if (!c) {
		if (store_fd >= 0)
			close(store_fd);
		return;
	}
	h->move->waiting = NULL;
	if (store_fd < 0) {
		msg_error_from(c, err);
		return;
	}
	fd = memfd_create("haven-state", MFD_CLOEXEC);
	rc = fd < 0 ? -errno : image_writer_open(&w, fd, &hdr);
	if (!rc) {
		if (!hv_image_previous(c))
			image_write(&w, (uint32_t)IMAGE_OPERATOR, NULL, 0, (uint8_t [4]) { h->copy.user_paused }, 4);
		hv_image_write_state(h, &w, store_fd, hv_image_previous(c));
		rc = image_writer_close(&w, false);
	}
	close(store_fd);
	if (rc) {
		if (fd >= 0)
			close(fd);
		msg_error(c, rc, "domain %u: its state cannot be written: %s", h->d->domid, strerror(-rc));
		return;
	}
	lseek(fd, 0, SEEK_SET);
	reply_memfd(c, json_pack("{s:I}", "bytes", (json_int_t)w.bytes), fd);
}

static void op_state_save(struct msg_call *c, void *arg)
{
	struct hv *h = arg;

	if (!source_only(c, h))
		return;
	if (h->copy.state != COPY_PAUSED || h->move->waiting) {
		msg_error(c, -EPERM, "domain %u: state-save: the copy is %s", h->d->domid, copy_state_name(h->copy.state));
		return;
	}
	h->move->waiting = c;
	hv_image_store_want(h, save_store, NULL);
}

static int io_release(struct hv *h, void *arg)
{
	devices_release(h->ds);
	return 0;
}

void hv_move_release(struct hv *h)
{
	h->release_wanted = !h->released && h->has_iscsi;      /* reservations first; release-done goes on */
	if (h->released || h->has_iscsi)
		return;
	hv_io_call(h, io_release, NULL);
	h->released = true;
}

static void op_released(struct msg_call *c, void *arg)
{
	struct hv *h = arg;

	if (!source_only(c, h))
		return;
	if (h->copy.state != COPY_HANDED) {
		msg_error(c, -EPERM, "domain %u: released: the copy is %s, not handed", h->d->domid, copy_state_name(h->copy.state));
		return;
	}
	hv_move_release(h);
	if (h->released) {
		msg_reply(c, NULL);
	} else {
		h->move->waiting = c;
		hv_event(h, "release-wanted", NULL);
	}
}

void hv_move_op_release_done(struct msg_call *done, void *arg)
{
	struct hv *h = arg;
	struct msg_call *c = h->move ? h->move->waiting : NULL;
	const char *error = msg_call_str_opt(done, "error", NULL);
	int e = err_from_name(msg_call_str_opt(done, "code", ""));

	h->release_wanted = false;
	if (h->copy.state == COPY_HANDED && !h->released) {
		hv_io_call(h, io_release, NULL);
		h->released = true;            /* also after an error: what was let go is not known */
	}
	if (c) {
		h->move->waiting = NULL;
		if (error)
			msg_error(c, -(e ? e : EIO), "%s", error);
		else
			msg_reply(c, NULL);
	}
	msg_reply(done, NULL);
}

/*
 * From the hand-over on the memory of a handed copy may still be fetched by the target: by a worker that comes and goes, while the copy
 * stays what it is.  In mid-move it is there already, so that the first page is not waited for.
 */
void hv_move_op_serve_open(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	bool moving = h->move && !h->move->incoming;

	if (h->copy.attempt != (uint64_t)msg_call_int_opt(c, "attempt", 0) || !(moving || (h->copy.state == COPY_HANDED && h->serves)))
		msg_error(c, -ESTALE, "domain %u: its memory is not to be fetched by another node; the copy is %s", h->d->domid,
			  copy_state_name(h->copy.state));
	else
		msg_reply_fds(c, json_pack("{s:I, s:I}", "ram_pages", (json_int_t)h->d->max_pages, "special_pages",
					   (json_int_t)h->d->nr_special), &h->d->ram_fd, 1);
}

/* The target has all of it, or nothing that could use it: nobody needs this copy any more.  Who owns the guest ends it. */
void hv_move_op_pages_served(struct msg_call *c, void *arg)
{
	struct hv *h = arg;

	if (h->copy.attempt != (uint64_t)msg_call_int_opt(c, "attempt", 0) ||
	    (h->copy.state != COPY_HANDED && h->copy.state != COPY_PAUSED)) {
		msg_error(c, -ESTALE, "domain %u: its memory is not fetched; the copy is %s", h->d->domid, copy_state_name(h->copy.state));
		return;
	}
	json_decref(h->serves);
	h->serves = NULL;
	h->served = true;
	hv_changed(h);
	msg_reply(c, NULL);
}

/* --- target -------------------------------------------------------------------------------------------------------------- */

static void load_connected(struct hv *h, int rc, const struct err *err, void *arg)
{
	struct msg_call *c = h->move ? h->move->waiting : NULL;
	struct err refused = { 0 };

	if (!c)
		return;
	h->move->waiting = NULL;
	if (rc) {
		msg_error_from(c, err);
		return;
	}
	h->drained = true;                     /* activate sets the devices going */
	if (copy_apply(&h->copy, COPY_LOADED, 0, NULL, &refused)) {
		msg_error_from(c, &refused);
		return;
	}
	hv_changed(h);
	msg_reply(c, NULL);
}

/* Between two nodes: a source that does not tell how far the clocks are apart tells when it paused, by this node's clock. */
static int64_t clock_behind(struct msg_call *c, const struct image_header *hdr)
{
	int64_t told = msg_call_int_opt(c, "clock_offset_ns", INT64_MIN), pause = msg_call_int_opt(c, "pause_realtime_ns", 0);

	return told != INT64_MIN ? told : pause > 0 && hdr->realtime_ns < 1UL << 62 ? pause - (int64_t)hdr->realtime_ns : 0;
}

/* What of RAM will come later, a bitmap: it goes here.  With `begin` that was all, and from here on whoever touches it waits for it. */
static void op_pages_owed(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	size_t words = (h->d->max_pages + 63) / 64;
	uint64_t *bits = h->move->incoming ? calloc(words, sizeof *bits) : NULL;
	struct err err = { 0 };
	int fd = msg_call_take_fd(c, 0), rc = 0;

	hv_ahead_stop();
	if (!bits)
		rc = err_set(&err, h->move->incoming ? -ENOMEM : -EPERM, "domain %u: pages-owed: this is the source's copy", h->d->domid);
	if (!rc && fd >= 0)
		rc = pread(fd, bits, words * sizeof *bits, 0) == (ssize_t)(words * sizeof *bits) ? hv_pages_owe(h, bits, words, &err)
			: err_set(&err, -EINVAL, "domain %u: pages-owed: the bitmap is too short", h->d->domid);
	if (!rc && msg_call_bool_opt(c, "begin", false))
		rc = hv_pages_begin(h, &err);
	if (!rc)
		hv_changed(h);
	if (fd >= 0)
		close(fd);
	free(bits);
	if (rc)
		msg_error_from(c, &err);
	else
		msg_reply(c, json_pack("{s:I}", "owed_kib", (json_int_t)hv_pages_left(h) * 4));
}

/* ha-agentd's word: the node that had them is gone, or has them no more.  What runs here is no guest without them. */
void hv_move_op_pages_lost(struct msg_call *c, void *arg)
{
	struct hv *h = arg;

	if (strcmp(hv_pages_from(h), msg_call_str_opt(c, "from", "?"))) {
		msg_error(c, -ESTALE, "domain %u: no pages of it are on %s", h->d->domid, msg_call_str_opt(c, "from", "?"));
		return;
	}
	log_err("domain %u: %llu pages of its memory were lost with %s; it ends", h->d->domid, (unsigned long long)hv_pages_left(h),
		hv_pages_from(h));
	msg_reply(c, NULL);
	_exit(0);
}

/* The guest still runs elsewhere; what it runs there is made ready here, of the bytes that have come so far. */
static void op_code_make(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	int fd = msg_call_take_fd(c, 0), rc = fd < 0 ? -EINVAL : 0;

	if (!rc && (!h->move->incoming || h->copy.state != COPY_INCOMING || h->have_guest || hv_pages_left(h)))
		rc = -EPERM;
	if (!rc)
		rc = hv_ahead_start(h->d, fd);
	if (fd >= 0)
		close(fd);
	if (rc)
		msg_error(c, rc, "domain %u: code-make: %s", h->d->domid, strerror(-rc));
	else
		msg_reply(c, NULL);
}

static int state_load(struct hv *h, int fd, struct msg_call *c, int *ret_store_fd, struct err *err)
{
	struct image_header hdr = { 0 };
	struct image_reader r;
	int rc = image_reader_open(&r, fd, &hdr, err);

	if (rc)
		return rc;
	h->d->saved_clock_behind_ns = clock_behind(c, &hdr);
	if (hdr.kind == IMAGE_STATE && hdr.max_pages == h->d->max_pages && hdr.special_pages == h->d->nr_special && hdr.domid == h->d->domid)
		return hv_image_read(h, &r, &hdr, ret_store_fd, err);
	image_reader_close(&r);
	return err_set(err, -EINVAL, "domain %u: the state that came is another domain's", h->d->domid);
}

static void op_state_load(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	struct err err = { 0 };
	int fd, store_fd = -1, rc;

	if (!h->move->incoming || h->copy.state != COPY_INCOMING || h->have_guest || h->move->waiting) {
		msg_error(c, -EPERM, "domain %u: state-load: the copy is %s", h->d->domid, copy_state_name(h->copy.state));
		return;
	}
	hv_ahead_stop();
	fd = msg_call_take_fd(c, 0);
	rc = fd < 0 ? err_set(&err, -EINVAL, "state-load: no state came with the request")
		    : state_load(h, fd, c, &store_fd, &err);
	if (fd >= 0)
		close(fd);
	if (rc) {
		if (store_fd >= 0)
			close(store_fd);
		msg_error_from(c, &err);
		return;
	}
	h->move->waiting = c;
	hv_image_store_offer(h, store_fd, load_connected, NULL);
}

/* --- the channel --------------------------------------------------------------------------------------------------------- */

static const struct msg_op ops[] = {          /* whoever holds the descriptor may ask */
	{ "info", MSG_ANY, op_info },
	{ "dirty-start", MSG_ANY, op_dirty_start },
	{ "dirty-round", MSG_ANY, op_dirty_round },
	{ "dirty-stop", MSG_ANY, op_dirty_stop },
	{ "code-watch", MSG_ANY, op_code_watch },
	{ "code-list", MSG_ANY, op_code_list },
	{ "code-make", MSG_ANY, op_code_make },
	{ "throttle", MSG_ANY, op_throttle },
	{ "pause", MSG_ANY, op_pause },
	{ "state-save", MSG_ANY, op_state_save },
	{ "pages-owed", MSG_ANY, op_pages_owed },
	{ "state-load", MSG_ANY, op_state_load },
	{ "released", MSG_ANY, op_released },
	{ NULL },
};

static void move_close(struct hv *h, int n)
{
	struct hv_move *m = h->move;

	if (!m)
		return;
	h->move = NULL;
	msg_server_stop(m->server);
	free(m);
}

/* The worker is gone.  The server is taken apart later: it is on the stack now. */
static void channel_end(struct msg_client *client, void *arg)
{
	struct hv *h = arg;
	enum copy_state s = h->copy.state;

	log_info("domain %u: the migration channel ended, the copy is %s", h->d->domid, copy_state_name(s));
	h->move->waiting = NULL;
	hv_ahead_stop();
	hv_image_forget();
	vcpu_threads_throttle(h->d, 0);
	if (h->move->incoming && (s == COPY_INCOMING || (s == COPY_READY && !h->activating && !h->keeps_ready)))
		_exit(0);
	if (h->move->logging)
		log_set(h, false);
	if (s == COPY_PAUSED && !copy_apply(&h->copy, COPY_MOVE_RESUME, 0, NULL, NULL)) {
		hv_unquiesce(h);
		hv_sync_execution(h);
		hv_changed(h);
	}
	if (s == COPY_RUNNING || s == COPY_QUORUM_PAUSED)
		h->copy.attempt = 0;
	hv_post(h, move_close, 0);
}

static int channel_open(struct hv *h, bool incoming, int *ret_fd)
{
	int sv[2] = { -1, -1 }, rc;
	struct hv_move *m = calloc(1, sizeof *m);

	if (!m)
		return -ENOMEM;
	m->incoming = incoming;
	rc = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0 ? -errno : 0;
	if (!rc)
		rc = msg_server_adopt(h->loop, -1, ops, h, channel_end, "hv-domain", &m->server);
	if (!rc) {
		rc = msg_server_add_connection(m->server, sv[0], NULL);
		if (rc)
			msg_server_stop(m->server);
	}
	if (rc) {
		for (int i = 0; i < 2; i++)
			if (sv[i] >= 0)
				close(sv[i]);
		free(m);
		return rc;
	}
	h->move = m;
	*ret_fd = sv[1];
	return 0;
}

static void channel_reply(struct hv *h, struct msg_call *call, bool incoming)
{
	int fds[2], rc = channel_open(h, incoming, &fds[0]);

	if (rc) {
		msg_error(call, rc, "domain %u: no migration channel: %s", h->d->domid, strerror(-rc));
		return;
	}
	fds[1] = h->d->ram_fd;
	msg_reply_fds(call, json_pack("{s:i}", "domid", h->d->domid), fds, 2);
	close(fds[0]);
}

void hv_move_open(struct hv *h, struct msg_call *call, uint64_t attempt, const char *target, bool preserved)
{
	if (hv_pages_in_the_way(h, call, "migrate"))
		return;
	if (h->move || h->copy.attempt)
		msg_error(call, -EBUSY, "domain %u: a move is under way already", h->d->domid);
	else if (h->copy.state != COPY_RUNNING)
		msg_error(call, -EPERM, "domain %u: cannot move: the copy is %s", h->d->domid, copy_state_name(h->copy.state));
	else if (disks_answer(call, h)) {
		image_prepare();
		h->copy.attempt = attempt;
		h->served = false;
		snprintf(h->copy.target, sizeof h->copy.target, "%s", target);
		channel_reply(h, call, false);
		if (h->move)
			h->move->preserved = preserved;
		else
			h->copy.attempt = 0;
	}
}

void hv_move_incoming(struct hv *h, struct msg_call *call, uint64_t attempt, const char *from, bool keep)
{
	if (h->have_guest || h->move || h->copy.state != COPY_BUILDING) {
		msg_error(call, -EPERM, "domain %u: not an empty copy", h->d->domid);
		return;
	}
	image_prepare();
	h->copy.state = COPY_INCOMING;
	h->copy.attempt = attempt;
	h->keeps_ready = keep;
	snprintf(h->from, sizeof h->from, "%s", from);
	if (hv_pages_expect(h, attempt, from))
		log_info("domain %u: this copy runs when all of its memory is there, not before", h->d->domid);
	channel_reply(h, call, true);
}
