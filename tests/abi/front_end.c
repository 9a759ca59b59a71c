/* SPDX-License-Identifier: GPL-2.0-or-later */
/* front_end.c - see front_end.h */
#include "front_end.h"
#include <xen/memory.h>
#include <xen/io/xs_wire.h>

#define PATIENCE_NS 20000000000UL
#define REF_FIRST 8U                    /* grant_table.h: those below are reserved */

volatile struct grant_entry_v1 *grants;
void (*volatile job)(void);
static volatile bool job_running;
static struct xenstore_domain_interface *ring;
static char body[XENSTORE_PAYLOAD_MAX + 1];
static uint32_t next_id, next_ref = REF_FIRST;

/* ---- time ---- */

void breathe(void)
{
	struct sched_poll p = { .timeout = system_time(0) + 100000 };

	sched_op(SCHEDOP_poll, &p);
}

bool waited(uint64_t since_ns, const char *what)
{
	if (system_time(0) - since_ns > PATIENCE_NS)
		fail("waited for %s", what);
	breathe();
	return true;
}

/* ---- text ---- */

static uint32_t text_len(const char *s)
{
	uint32_t n = 0;

	while (s[n])
		n++;
	return n;
}

/* dst = a b c, cut at size */
static void text_join(char *dst, uint32_t size, const char *a, const char *b, const char *c)
{
	const char *part[] = { a, b, c };
	uint32_t n = 0;

	for (unsigned i = 0; i < 3; i++)
		for (const char *s = part[i]; *s && n + 1 < size; s++)
			dst[n++] = *s;
	dst[n] = 0;
}

static const char *text_of(uint64_t n)
{
	static char text[24];
	char *p = text + sizeof(text) - 1;

	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	return p;
}

static uint64_t number_of(const char *s)
{
	uint64_t n = 0;

	for (; s && *s >= '0' && *s <= '9'; s++)
		n = n * 10 + (uint64_t)(*s - '0');
	return n;
}

/* ---- the store ---- */

static void ring_write(const void *data, uint32_t n)
{
	const char *p = data;
	uint64_t since = system_time(0);

	for (uint32_t i = 0; i < n; i++) {
		while (ring->req_prod - __atomic_load_n(&ring->req_cons, __ATOMIC_SEQ_CST) >= XENSTORE_RING_SIZE)
			waited(since, "room in the store's ring");
		ring->req[MASK_XENSTORE_IDX(ring->req_prod)] = p[i];
		__atomic_store_n(&ring->req_prod, ring->req_prod + 1, __ATOMIC_RELEASE);
	}
	event_send(si->store_evtchn);
}

static void ring_read(void *data, uint32_t n)
{
	char *p = data;
	uint64_t since = system_time(0);

	for (uint32_t i = 0; i < n; i++) {
		while (__atomic_load_n(&ring->rsp_prod, __ATOMIC_SEQ_CST) == ring->rsp_cons)
			waited(since, "the store's answer");
		p[i] = ring->rsp[MASK_XENSTORE_IDX(ring->rsp_cons)];
		__atomic_store_n(&ring->rsp_cons, ring->rsp_cons + 1, __ATOMIC_RELEASE);
	}
	event_send(si->store_evtchn);
}

/* A path, its NUL, and what is behind it: the type of the answer, which is in body. */
static uint32_t ask(uint32_t type, const char *path, const char *value)
{
	struct xsd_sockmsg h = { .type = type, .req_id = ++next_id, .len = text_len(path) + 1 + text_len(value) };

	ring_write(&h, sizeof(h));
	ring_write(path, text_len(path) + 1);
	ring_write(value, text_len(value));
	ring_read(&h, sizeof(h));
	if (h.req_id != next_id || h.len > XENSTORE_PAYLOAD_MAX)
		fail("answer %u of %u octets to request %u", h.req_id, h.len, next_id);
	ring_read(body, h.len);
	body[h.len] = 0;
	return h.type;
}

const char *store_read(const char *path) { return ask(XS_READ, path, "") == XS_READ ? body : NULL; }
bool store_write(const char *path, const char *value) { return ask(XS_WRITE, path, value) == XS_WRITE; }
void store_remove(const char *path) { ask(XS_RM, path, ""); }
void store_settle(void) { store_read("domid"); }

/* ---- a device ---- */

void front_find(struct front *f, const char *path)
{
	char node[64];
	const char *back;

	text_join(f->path, sizeof(f->path), path, "", "");
	text_join(node, sizeof(node), path, "/backend", "");
	back = store_read(node);
	if (!back)
		fail("no %s in the store", node);
	text_join(f->back, sizeof(f->back), back, "", "");
}

void front_text(const struct front *f, const char *key, const char *value)
{
	char node[128];

	text_join(node, sizeof(node), f->path, "/", key);
	if (!store_write(node, value))
		fail("writing %s: %s", node, body);
}

void front_number(const struct front *f, const char *key, uint64_t value) { front_text(f, key, text_of(value)); }
void front_state(const struct front *f, unsigned state) { front_number(f, "state", state); }

uint64_t back_number(const struct front *f, const char *key)
{
	char node[128];

	text_join(node, sizeof(node), f->back, "/", key);
	return number_of(store_read(node));
}

unsigned back_reaches(const struct front *f, unsigned states)
{
	uint64_t since = system_time(0);
	unsigned state;

	while (!(states >> (state = (unsigned)back_number(f, "state")) & 1)) {
		if (system_time(0) - since > PATIENCE_NS)
			fail("%s is in state %u, not in one of %x", f->back, state, states);
		breathe();
	}
	return state;
}

void front_reset(const struct front *f)
{
	front_state(f, XenbusStateClosed);
	back_reaches(f, 1 << XenbusStateClosed);
	front_state(f, XenbusStateInitialising);
	back_reaches(f, 1 << XenbusStateInitWait);
}

/* ---- grants and channels ---- */

uint32_t grant_frame(uint64_t mfn, uint16_t flags)
{
	CHECK(next_ref < GRANTS);
	grants[next_ref].frame = (uint32_t)mfn;
	grants[next_ref].domid = 0;
	__atomic_store_n(&grants[next_ref].flags, GTF_permit_access | flags, __ATOMIC_SEQ_CST);
	return next_ref++;
}

uint32_t grant_page(const void *page, uint16_t flags) { return grant_frame(va_to_mfn(page), flags); }
bool grant_in_use(uint32_t ref) { return grants[ref].flags & (GTF_reading | GTF_writing); }

uint32_t port_new(void)
{
	struct evtchn_alloc_unbound a = { .dom = DOMID_SELF, .remote_dom = 0 };

	CHECK_EQ(evtchn_op(EVTCHNOP_alloc_unbound, &a), 0);
	return a.port;
}

/* ---- frames ---- */

static long reserve(int op, uint64_t *extent)
{
	struct xen_memory_reservation r = { .nr_extents = 1, .domid = DOMID_SELF };

	r.extent_start.p = extent;
	return hypercall(memory_op, op, &r, 0, 0);
}

uint64_t frame_give_up(void *page)
{
	uint64_t mfn = va_to_mfn(page);

	CHECK_EQ(reserve(XENMEM_decrease_reservation, &mfn), 1);
	return mfn;
}

void frame_take_back(void *page)
{
	uint64_t mfn = va_to_pfn(page);

	CHECK_EQ(reserve(XENMEM_populate_physmap, &mfn), 1);
	((uint64_t *)si->mfn_list)[va_to_pfn(page)] = mfn;
	map_page((uint64_t)page, pte(mfn, P_KERNEL));
}

/* ---- another vCPU ---- */

static void job_vcpu(void)
{
	for (;;) {
		void (*fn)(void) = job;

		job_running = fn;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (fn && fn == job)
			fn();
		else
			breathe();
	}
}

void job_stop(void)
{
	uint64_t since = system_time(0);

	job = NULL;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (job_running)
		waited(since, "the other vCPU");
}

void job_vcpu_start(void) { vcpu_start(1, job_vcpu); }

/* ---- start ---- */

void front_start(void)
{
	struct gnttab_setup_table s = { .dom = DOMID_SELF, .nr_frames = 1 };
	uint64_t frame = 0, *window = page_alloc();

	ring = mfn_to_va(si->store_mfn);
	s.frame_list.p = &frame;
	CHECK_EQ(hypercall(grant_table_op, GNTTABOP_setup_table, &s, 1, 0), 0);
	CHECK_EQ(s.status, GNTST_okay);
	map_page((uint64_t)window, pte(frame, P_KERNEL));
	grants = (void *)window;
}
