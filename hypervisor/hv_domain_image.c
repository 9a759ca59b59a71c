/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hv_domain_image.c - see hv_domain_image.h and docs/specs/image.md. */
#include "hypervisor/hv_domain_image.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "hypervisor/domain_new.h"
#include "hypervisor/engine/bt/cpuid.h"
#include "lib/buf.h"
#include "lib/log.h"
#include "lib/zero_page.h"

#define STATE_MAX (32u << 20)

uint64_t hv_realtime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000UL + (uint64_t)ts.tv_nsec;
}

/* --- the store's part --------------------------------------------------------------------------------------------------- */

static struct {
	hv_store_fn *want; void *want_arg;
	hv_done_fn *offer; void *offer_arg;
	int offer_fd;                          /* what store-take hands out; -1: none */
	int import_fd;                         /* to xenstored, of a copy that it expects; -1: none */
	bool offered;                          /* to hypervisord */
} store = { .offer_fd = -1, .import_fd = -1 };

void hv_image_store_want(struct hv *h, hv_store_fn *cb, void *arg)
{
	store.want = cb;
	store.want_arg = arg;
	hv_event(h, "store-wanted", NULL);
}

static void store_arrived(struct hv *h)
{
	store.offered = true;
	hv_event(h, "store-arrived", NULL);
}

static void store_connected(struct hv *h, const struct err *err)
{
	hv_done_fn *cb = store.offer;

	store.offer = NULL;
	store.offered = false;
	if (store.offer_fd >= 0)
		close(store.offer_fd);
	store.offer_fd = -1;
	if (cb)
		cb(h, err->code, err, store.offer_arg);
}

static void import_close(struct hv *h)
{
	qb_loop_poll_del(h->loop, store.import_fd);
	close(store.import_fd);
	store.import_fd = -1;
}

/* xenstored has taken it, or is another one than the one that expected it: then hypervisord knows how. */
static int32_t import_answered(int32_t fd, int32_t revents, void *arg)
{
	struct hv *h = arg;
	struct err none = { 0 };
	json_t *reply = NULL;
	int rc = msg_recv(fd, &reply, NULL, NULL);
	bool taken = rc == 1 && json_is_true(json_object_get(reply, "ok"));

	if (rc == -EAGAIN)
		return 0;
	if (rc == 1 && !taken)
		log_warn("domain %u: xenstored: %s", h->d->domid, json_string_value(json_object_get(reply, "error")));
	json_decref(reply);
	import_close(h);
	if (store.offer && taken)
		store_connected(h, &none);
	else if (store.offer)
		store_arrived(h);
	return 0;
}

int hv_image_import_channel(struct hv *h, int fd)
{
	int rc = fd < 0 ? -EBADF : 0;

	if (store.import_fd >= 0)
		import_close(h);
	if (!rc)
		rc = qb_loop_poll_add(h->loop, QB_LOOP_MED, fd, POLLIN, h, import_answered);
	if (!rc)
		store.import_fd = fd;
	else if (fd >= 0)
		close(fd);
	return rc;
}

static int import_ask(struct hv *h)
{
	json_t *req = json_pack("{s:s}", "op", "import");
	int rc = store.import_fd < 0 ? -ENOTCONN : msg_send(store.import_fd, req, &store.offer_fd, 1);

	json_decref(req);
	if (rc && store.import_fd >= 0)
		import_close(h);
	return rc;
}

void hv_image_store_offer(struct hv *h, int fd, hv_done_fn *cb, void *arg)
{
	if (store.offer_fd >= 0)
		close(store.offer_fd);
	store.offer_fd = fd;
	store.offer = cb;
	store.offer_arg = arg;
	if (import_ask(h))
		store_arrived(h);
}

bool hv_image_store_is_wanted(void) { return store.want != NULL; }
bool hv_image_store_is_offered(void) { return store.offer && store.offered; }

void hv_image_forget(void)
{
	store.want = NULL;
	store.offer = NULL;
}

static struct err request_error(struct msg_call *c)
{
	struct err err = { 0 };
	int e = err_from_name(msg_call_str_opt(c, "code", ""));

	if (json_object_get(msg_call_request(c), "code"))
		err_set(&err, -(e ? e : EIO), "%s", msg_call_str_opt(c, "error", "hypervisord failed"));
	return err;
}

void hv_image_op_store_state(struct msg_call *c, void *arg)
{
	struct err err = request_error(c);
	int fd = msg_call_take_fd(c, 0);
	hv_store_fn *cb = store.want;

	store.want = NULL;
	msg_reply(c, NULL);
	if (!err.code && fd < 0)
		err_set(&err, -EPROTO, "the store's export came without a descriptor");
	if (cb)
		cb(arg, err.code ? err.code : fd, &err, store.want_arg);
	else if (fd >= 0)
		close(fd);
}

void hv_image_op_store_take(struct msg_call *c, void *arg)
{
	if (store.offer_fd < 0)
		msg_error(c, -ENOENT, "no store image is waiting");
	else
		msg_reply_fds(c, NULL, &store.offer_fd, 1);
}

void hv_image_op_store_done(struct msg_call *c, void *arg)
{
	struct err err = request_error(c);

	msg_reply(c, NULL);
	store_connected(arg, &err);
}

/* --- writing ------------------------------------------------------------------------------------------------------------ */

struct devices_io { struct buf *out; const uint8_t *p; size_t n; };

static int io_save(struct hv *h, void *arg)
{
	struct devices_io *x = arg;

	return devices_save(h->ds, x->out);
}

static int io_load(struct hv *h, void *arg)
{
	struct devices_io *x = arg;

	return devices_load(h->ds, x->p, x->n);
}

static void buf_write(struct image_writer *w, uint32_t type, struct buf *b, int rc)
{
	if (!w->rc && rc)
		w->rc = rc;
	else if (!buf_ok(b))
		w->rc = -ENOMEM;
	image_write(w, type, NULL, 0, b->data, b->len);
	buf_free(b);
}

static void store_write_record(struct image_writer *w, int fd)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > (off_t)IMAGE_RECORD_MAX) {
		w->rc = -EPROTO;
		return;
	}
	p = malloc((size_t)st.st_size);
	if (!p || pread(fd, p, (size_t)st.st_size, 0) != st.st_size)
		w->rc = p ? -EIO : -ENOMEM;
	image_write(w, IMAGE_STORE, NULL, 0, p, (size_t)st.st_size);
	free(p);
}

bool hv_image_previous(struct msg_call *c) { return msg_call_int_opt(c, "version", 2) < 2; }

int hv_image_write_state(struct hv *h, struct image_writer *w, int store_fd, bool previous)
{
	struct buf b = BUF_INIT(STATE_MAX);
	struct devices_io x = { .out = &b };
	uint8_t policy[CPUID_POLICY_BYTES];

	buf_write(w, IMAGE_DOMAIN, &b, abi_domain_save(h->d, &b));
	if (!previous) {
		b = (struct buf) BUF_INIT(STATE_MAX);
		buf_write(w, (uint32_t)IMAGE_TSC, &b, abi_tsc_save(h->d, &b));
	}
	cpuid_policy_pack(cpuid_policy_used(), policy);
	image_write(w, (uint32_t)IMAGE_CPUID, NULL, 0, policy, sizeof policy);
	b = (struct buf) BUF_INIT(STATE_MAX);
	for (unsigned i = 0; i < DOMAIN_WATCHDOGS; i++)
		buf_u32(&b, atomic_load(&h->d->watchdog[i].deadline_ns) ? atomic_load(&h->d->watchdog[i].timeout_s) : 0);
	buf_write(w, (uint32_t)IMAGE_WATCHDOG, &b, 0);
	b = (struct buf) BUF_INIT(STATE_MAX);
	for (unsigned i = 0; i < h->d->nr_vcpus; i++) {
		buf_u64(&b, h->d->vcpu[i]->iobmp_va);
		buf_u64(&b, h->d->vcpu[i]->iobmp_ports);
	}
	buf_write(w, (uint32_t)IMAGE_IOBITMAP, &b, 0);
	for (unsigned i = 0; i < h->d->nr_vcpus && !w->rc; i++) {
		b = (struct buf) BUF_INIT(STATE_MAX);
		buf_u32(&b, i);
		buf_u32(&b, 0);
		buf_write(w, IMAGE_VCPU, &b, abi_vcpu_save(h->d->vcpu[i], &b));
	}
	b = (struct buf) BUF_INIT(STATE_MAX);
	buf_write(w, IMAGE_DEVICES, &b, hv_io_call(h, io_save, &x));
	if (store_fd >= 0)
		store_write_record(w, store_fd);
	return w->rc;
}

static bool frame_worth(const struct domain *d, uint64_t i)
{
	if (i < d->max_pages && !(d->populated[i / 64] >> (i % 64) & 1))
		return false;
	return !page_is_zero(d->ram + (i << PAGE_SHIFT_HV));
}

/* Runs of frames that hold something; all others read as zeros. */
static void pages_write(struct hv *h, struct image_writer *w, struct msg_call *call)
{
	struct domain *d = h->d;
	uint64_t frames = domain_nr_frames(d), i = 0, said = 0;

	while (i < frames && !w->rc) {
		uint64_t first, n = 0;

		while (i < frames && !frame_worth(d, i))
			i++;
		first = i;
		while (i < frames && n < IMAGE_PAGES_PER_RECORD && frame_worth(d, i))
			i++, n++;
		if (n)
			image_write(w, IMAGE_PAGES, &first, sizeof first, d->ram + (first << PAGE_SHIFT_HV), n << PAGE_SHIFT_HV);
		if (call && i * 20 / frames != said) {
			said = i * 20 / frames;
			msg_progress(call, json_pack("{s:I, s:I, s:I}", "frames", (json_int_t)i, "total", (json_int_t)frames,
						     "percent", (json_int_t)(i * 100 / frames)));
		}
	}
}

/* --- save --------------------------------------------------------------------------------------------------------------- */

struct save { struct msg_call *call; int fd; bool resume; struct image_saved saved; };

static void save_end(struct hv *h, struct save *s, int rc, const struct err *err)
{
	if (rc) {
		if (ftruncate(s->fd, 0))       /* a whole image of a guest that runs on must not be left */
			log_warn("domain %u: the file of the failed save cannot be emptied: %s", h->d->domid, strerror(errno));
		hv_unquiesce(h);
		copy_apply(&h->copy, COPY_MOVE_RESUME, 0, NULL, NULL);
		hv_sync_execution(h);
		if (err && err->text[0])
			msg_error_from(s->call, err);
		else
			msg_error(s->call, rc, "domain %u: saving failed: %s; it runs on", h->d->domid, strerror(-rc));
	} else {
		if (s->resume) {
			copy_apply(&h->copy, COPY_MOVE_RESUME, 0, NULL, NULL);
			hv_unquiesce(h);
			hv_sync_execution(h);
		}
		msg_reply(s->call, NULL);
	}
	hv_changed(h);
	close(s->fd);
	free(s);
}

static void save_store(struct hv *h, int store_fd, const struct err *err, void *arg)
{
	struct save *s = arg;
	struct image_header hdr = { IMAGE_FILE, h->d->domid, hv_realtime_ns(), h->d->max_pages, h->d->nr_special };
	struct image_writer w;
	uint8_t saved[IMAGE_SAVED_BYTES];
	char *config;
	int rc;

	if (store_fd < 0) {
		save_end(h, s, store_fd, err);
		return;
	}
	config = json_dumps(h->config, JSON_COMPACT | JSON_SORT_KEYS);
	rc = config ? image_writer_open(&w, s->fd, &hdr) : -ENOMEM;
	if (!rc) {
		image_write(&w, IMAGE_CONFIG, NULL, 0, config, strlen(config));
		image_saved_pack(&s->saved, saved);
		image_write(&w, (uint32_t)IMAGE_SAVED, NULL, 0, saved, sizeof saved);
		pages_write(h, &w, s->call);
		hv_image_write_state(h, &w, store_fd, hv_image_previous(s->call));
		rc = image_writer_close(&w, true);
	}
	free(config);
	close(store_fd);
	save_end(h, s, rc, NULL);
}

static void save_quiet(struct hv *h, int rc, void *arg)
{
	if (rc)
		save_end(h, arg, rc, NULL);
	else
		hv_image_store_want(h, save_store, arg);
}

void hv_image_op_save(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	struct err err = { 0 };
	struct save *s;
	int fd = msg_call_take_fd(c, 0);
	int rc = fd < 0 ? err_set(&err, -EINVAL, "save-state: no file came with the request") : 0;

	if (!rc && hv_pages_in_the_way(h, c, "save")) {
		close(fd);
		return;
	}
	if (!rc)
		rc = copy_apply(&h->copy, COPY_MOVE_PAUSE, 0, NULL, &err);
	s = rc ? NULL : calloc(1, sizeof *s);
	if (!s) {
		if (fd >= 0)
			close(fd);
		msg_error_from(c, &err);
		return;
	}
	*s = (struct save) { .call = c, .fd = fd, .resume = msg_call_bool_opt(c, "resume", false) };
	s->saved = (struct image_saved) { (uint64_t)msg_call_int_opt(c, "epoch", 0), msg_call_bool_opt(c, "cluster", false), s->resume };
	json_decref(h->config);
	h->config = json_deep_copy(json_object_get(msg_call_request(c), "config"));
	hv_changed(h);
	hv_quiesce(h, save_quiet, s);
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

static int pages_read(struct domain *d, const uint8_t *body, size_t n, struct err *err)
{
	struct reader r;
	uint64_t first, pages, frames = domain_nr_frames(d);

	reader_init(&r, body, n);
	first = reader_u64(&r);
	pages = r.left >> PAGE_SHIFT_HV;
	if (!reader_ok(&r) || r.left & (PAGE_SIZE_HV - 1) || first >= frames || pages > frames - first)
		return err_set(err, -EINVAL, "the image is damaged: pages outside the domain");
	memcpy(d->ram + (first << PAGE_SHIFT_HV), body + 8, pages << PAGE_SHIFT_HV);
	return 0;
}

static int vcpu_read(struct domain *d, const uint8_t *body, size_t n, struct err *err)
{
	struct reader r;
	uint32_t id;

	reader_init(&r, body, n);
	id = reader_u32(&r);
	reader_u32(&r);
	if (!reader_ok(&r) || id >= d->nr_vcpus || abi_vcpu_load(d->vcpu[id], body + 8, n - 8))
		return err_set(err, -EINVAL, "the image is damaged: vCPU state");
	return 0;
}

static int store_read(const uint8_t *body, size_t n, int *ret_fd, struct err *err)
{
	int fd = memfd_create("haven-store", MFD_CLOEXEC);

	if (fd < 0 || write(fd, body, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) < 0) {
		if (fd >= 0)
			close(fd);
		return err_set(err, -ENOMEM, "no memory for the store's part of the image");
	}
	if (*ret_fd >= 0)
		close(*ret_fd);
	*ret_fd = fd;
	return 0;
}

/* The guest goes on seeing the processor it was started on; this one must have all of its features. */
static int policy_read(const uint8_t *body, size_t n, struct err *err)
{
	struct cpuid_policy guest, host;
	const char *missing;

	if (cpuid_policy_unpack(&guest, body, n))
		return err_set(err, -EINVAL, "the image is damaged: CPU policy");
	cpuid_policy_host(&host);
	missing = cpuid_policy_missing(&guest, &host);
	if (missing)
		return err_set(err, -ENOTSUP, "this node's CPU lacks %s, which the guest was started with; move it to a node that has it",
			       missing);
	cpuid_policy_use(&guest);
	return 0;
}

/* Their time begins when the guest goes on. */
static int watchdogs_read(struct domain *d, const uint8_t *body, size_t n, struct err *err)
{
	struct reader r;

	reader_init(&r, body, n);
	for (unsigned i = 0; i < DOMAIN_WATCHDOGS; i++) {
		uint32_t timeout_s = reader_u32(&r);

		atomic_store(&d->watchdog[i].timeout_s, timeout_s);
		atomic_store(&d->watchdog[i].deadline_ns, timeout_s != 0);
	}
	return reader_ok(&r) && !r.left ? 0 : err_set(err, -EINVAL, "the image is damaged: watchdogs");
}

static int iobitmaps_read(struct domain *d, const uint8_t *body, size_t n, struct err *err)
{
	struct reader r;

	reader_init(&r, body, n);
	for (unsigned i = 0; i < d->nr_vcpus; i++) {
		uint64_t va = reader_u64(&r), ports = reader_u64(&r);

		if (ports > 65536)
			return err_set(err, -EINVAL, "the image is damaged: I/O bitmap of vCPU %u", i);
		d->vcpu[i]->iobmp_va = va;
		d->vcpu[i]->iobmp_ports = (uint32_t)ports;
	}
	return reader_ok(&r) && !r.left ? 0 : err_set(err, -EINVAL, "the image is damaged: I/O bitmaps");
}

static int operator_read(struct hv *h, const uint8_t *body, size_t n, struct err *err)
{
	struct reader r;
	uint32_t flags;

	reader_init(&r, body, n);
	flags = reader_u32(&r);
	if (!reader_ok(&r) || r.left || flags > 1)
		return err_set(err, -EINVAL, "the image is damaged: the operator's pause");
	h->copy.user_paused = flags & 1;
	return 0;
}

static int record_load(struct hv *h, uint32_t type, const uint8_t *body, size_t n, int *ret_store_fd, struct err *err)
{
	struct devices_io x = { .p = body, .n = n };
	int rc = 0;

	if (type == (uint32_t)IMAGE_CPUID)
		return policy_read(body, n, err);
	if (type == (uint32_t)IMAGE_WATCHDOG)
		return watchdogs_read(h->d, body, n, err);
	if (type == (uint32_t)IMAGE_IOBITMAP)
		return iobitmaps_read(h->d, body, n, err);
	if (type == (uint32_t)IMAGE_TSC)
		return abi_tsc_load(h->d, body, n) ? err_set(err, -EINVAL, "the image is damaged: TSC") : 0;
	if (type == (uint32_t)IMAGE_OPERATOR)
		return operator_read(h, body, n, err);
	switch (type) {
	case IMAGE_CONFIG:
		return 0;                      /* hypervisord's: it made the domain from it */
	case IMAGE_PAGES:
		return pages_read(h->d, body, n, err);
	case IMAGE_DOMAIN:
		rc = abi_domain_load(h->d, body, n);
		return rc ? err_set(err, rc, "the image is damaged: domain state") : 0;
	case IMAGE_VCPU:
		return vcpu_read(h->d, body, n, err);
	case IMAGE_DEVICES:
		rc = hv_io_call(h, io_load, &x);
		return rc ? err_set(err, rc, "the image's devices do not fit the configuration's disks and vifs") : 0;
	case IMAGE_STORE:
		return store_read(body, n, ret_store_fd, err);
	default:
		return type & 0x80000000u ? 0 : err_set(err, -ENOTSUP, "the image has a record (%u) this Haven does not know", type);
	}
}

int hv_image_read(struct hv *h, struct image_reader *r, const struct image_header *hdr, int *ret_store_fd, struct err *err)
{
	const uint8_t *body;
	uint32_t type;
	size_t n;
	int rc = 0;

	while (!rc && (rc = image_read(r, &type, &body, &n, err)) == 1)
		rc = type == IMAGE_PAGES && hdr->kind == IMAGE_STATE ? err_set(err, -EINVAL, "domain %u: pages among the state", h->d->domid)
								     : record_load(h, type, body, n, ret_store_fd, err);
	image_reader_close(r);
	if (rc)
		return rc;
	if (*ret_store_fd < 0 || !h->d->store_mfn || !atomic_load(&h->d->tot_pages))
		return err_set(err, -EINVAL, "the image is incomplete");
	h->have_guest = true;
	return 0;
}

static int file_load(struct hv *h, int fd, int *ret_store_fd, struct err *err)
{
	struct image_header hdr = { 0 };
	struct image_reader r;
	int rc = image_reader_open(&r, fd, &hdr, err);

	if (rc)
		return rc;
	if (hdr.max_pages == h->d->max_pages && hdr.special_pages == h->d->nr_special)
		return hv_image_read(h, &r, &hdr, ret_store_fd, err);
	image_reader_close(&r);
	return err_set(err, -EINVAL, "the image's memory differs from its configuration's");
}

static void load_connected(struct hv *h, int rc, const struct err *err, void *arg)
{
	struct msg_call *c = arg;

	if (rc)
		msg_error_from(c, err);
	else
		msg_reply(c, hv_status(h));
}

/* Restore: hypervisord has had the file checked; here it is read again and checked again, since it may have changed. */
void hv_image_op_load(struct msg_call *c, void *arg)
{
	struct hv *h = arg;
	struct err err = { 0 };
	int fd = msg_call_take_fd(c, 0), store_fd = -1;
	int rc = h->have_guest ? err_set(&err, -EBUSY, "domain %u: holds a guest already", h->d->domid)
	       : fd < 0 ? err_set(&err, -EINVAL, "load-state: no file came with the request") : file_load(h, fd, &store_fd, &err);

	if (fd >= 0)
		close(fd);
	if (rc) {
		if (store_fd >= 0)
			close(store_fd);
		msg_error_from(c, &err);
		return;
	}
	hv_image_store_offer(h, store_fd, load_connected, c);
}
