/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * abi_image.c - the ABI's state as octets, and back (docs/specs/image.md, "domain" and "vcpu").
 *
 * Guest memory travels apart from this, so what the guest sees of its channels and grants (pending and mask bits, event
 * words, grant entries, vcpu_info) is not in here.  Loading parses into a scratch copy, checks every field against what
 * a guest could have brought about by itself, and applies the copy only when all of it holds.
 *
 * Uses of grants are not carried: the source has drained its back ends, and the target's take their rings again as they
 * connect.  Marks in the table that no one owns are swept before the guest runs (abi_domain_settle).
 */
#include <cpuid.h>
#include <stdlib.h>

#include "hypervisor/abi/evtchn.h"
#include "hypervisor/abi/frame_runs.h"
#include "hypervisor/abi/gnttab.h"
#include "lib/buf.h"
#include <xen/sched.h>

#define DOMAIN_VERSION 1U
#define VCPU_VERSION 1U
#define JUMP_NS 1000000000UL            /* a pause that the guest's watchdogs are told of */
#define SLEEP_NS 10000000000UL          /* one that is a sleep: time_sleep_over() */

/* ---- event channels ---- */

static bool port_is_blank(const struct evtchn *e)
{
	static const struct evtchn blank;

	return !memcmp(e, &blank, sizeof(blank));
}

static void save_port(struct buf *out, uint32_t port, const struct evtchn *e)
{
	buf_u32(out, port);
	buf_u8(out, e->kind);
	buf_u8(out, e->vcpu);
	buf_u8(out, e->virq);
	buf_u8(out, e->priority);
	buf_u8(out, e->last_vcpu);
	buf_u8(out, e->last_priority);
	buf_u8(out, e->fifo_pending);
	buf_u8(out, 0);
	buf_u16(out, e->remote_dom);
	buf_u16(out, 0);
	buf_u32(out, e->remote_port);
}

static void save_evtchn(const struct domain *d, struct buf *out)
{
	const struct evtchn_state *s = d->evtchn;
	uint32_t used = 0;

	for (uint32_t p = 1; p < EVTCHN_MAX_PORTS; p++)
		used += !port_is_blank(&s->port[p]);
	buf_u32(out, used);
	for (uint32_t p = 1; p < EVTCHN_MAX_PORTS; p++)
		if (!port_is_blank(&s->port[p]))
			save_port(out, p, &s->port[p]);
	buf_u32(out, s->fifo);
	buf_u32(out, s->fifo_nr_pages);
	for (unsigned i = 0; i < s->fifo_nr_pages; i++)
		buf_u64(out, s->fifo_page_mfn[i]);
	for (unsigned i = 0; s->fifo && i < d->nr_vcpus; i++) {
		const struct fifo_vcpu *f = &s->fifo_vcpu[i];

		buf_u64(out, f->control_mfn);
		buf_u32(out, f->control_offset);
		for (unsigned q = 0; q < EVTCHN_FIFO_MAX_QUEUES; q++)
			buf_u32(out, f->queue[q].tail);
	}
}

static bool load_port(const struct domain *d, struct evtchn_state *s, struct reader *r, uint32_t *prev)
{
	uint32_t port = reader_u32(r);
	struct evtchn e = { 0 };

	e.kind = reader_u8(r);
	e.vcpu = reader_u8(r);
	e.virq = reader_u8(r);
	e.priority = reader_u8(r);
	e.last_vcpu = reader_u8(r);
	e.last_priority = reader_u8(r);
	e.fifo_pending = reader_u8(r);
	reader_u8(r);
	e.remote_dom = reader_u16(r);
	reader_u16(r);
	e.remote_port = reader_u32(r);
	if (!reader_ok(r) || port <= *prev || port >= EVTCHN_MAX_PORTS || e.kind >= EC_NR_KINDS || e.vcpu >= d->nr_vcpus ||
	    e.last_vcpu >= d->nr_vcpus || e.priority > EVTCHN_FIFO_PRIORITY_MIN || e.last_priority > EVTCHN_FIFO_PRIORITY_MIN ||
	    e.fifo_pending > 1 || e.virq >= NR_VIRQS)
		return false;
	s->port[port] = e;
	*prev = port;
	return true;
}

/* What ties ports to each other: loopback pairs, one port a VIRQ. */
static bool check_ports(struct evtchn_state *s)
{
	for (uint32_t p = 1; p < EVTCHN_MAX_PORTS; p++) {
		const struct evtchn *e = &s->port[p];

		if (e->kind == EC_LOOP) {
			if (!e->remote_port || e->remote_port >= EVTCHN_MAX_PORTS)
				return false;
			if (s->port[e->remote_port].kind != EC_LOOP || s->port[e->remote_port].remote_port != p)
				return false;
		} else if (e->kind == EC_VIRQ) {
			uint32_t *owner = &s->virq_port[virq_is_global(e->virq) ? 0 : e->vcpu][e->virq];

			if (*owner)
				return false;
			*owner = p;
		}
	}
	return true;
}

static bool frame_in(const uint64_t *populated, const struct domain *d, uint64_t mfn)
{
	return mfn < d->max_pages && (populated[mfn / 64] >> (mfn % 64) & 1);
}

static bool load_fifo(const struct domain *d, struct evtchn_state *s, const uint64_t *populated, struct reader *r)
{
	uint32_t fifo = reader_u32(r);

	s->fifo_nr_pages = reader_u32(r);
	if (!reader_ok(r) || fifo > 1 || s->fifo_nr_pages > FIFO_MAX_PAGES || (!fifo && s->fifo_nr_pages))
		return false;
	s->fifo = fifo;
	for (unsigned i = 0; i < s->fifo_nr_pages; i++) {
		s->fifo_page_mfn[i] = reader_u64(r);
		if (!frame_in(populated, d, s->fifo_page_mfn[i]))
			return false;
	}
	for (unsigned i = 0; fifo && i < d->nr_vcpus; i++) {
		struct fifo_vcpu *f = &s->fifo_vcpu[i];

		f->control_mfn = reader_u64(r);
		f->control_offset = reader_u32(r);
		if ((f->control_mfn && !frame_in(populated, d, f->control_mfn)) || (f->control_offset & 7) ||
		    f->control_offset > PAGE_SIZE_HV - sizeof(struct evtchn_fifo_control_block))
			return false;
		for (unsigned q = 0; q < EVTCHN_FIFO_MAX_QUEUES; q++) {
			f->queue[q].tail = reader_u32(r);
			if (f->queue[q].tail >= EVTCHN_MAX_PORTS)
				return false;
		}
	}
	return reader_ok(r);
}

static bool load_evtchn(const struct domain *d, struct evtchn_state *s, const uint64_t *populated, struct reader *r)
{
	uint32_t used = reader_u32(r), prev = 0;

	for (uint32_t i = 0; i < used; i++)
		if (!load_port(d, s, r, &prev))
			return false;
	return check_ports(s) && load_fifo(d, s, populated, r);
}

/* ---- the guest's mappings of its own grants; nothing at all when there are none ---- */

static void save_grant_maps(const struct domain *d, struct buf *out)
{
	for (uint32_t i = 0; i < GRANT_MAX_MAPS; i++) {
		const struct grant_map *m = &d->grant->map[i];

		if (m->state == GRANT_MAP_FREE)
			continue;
		buf_u32(out, i);
		buf_u32(out, m->ref);
		buf_u32(out, m->mfn);
		buf_u32(out, m->flags);
	}
}

/* To the record's end, handles ascending. */
static bool load_grant_maps(const struct domain *d, struct grant_map *map, struct reader *r)
{
	uint32_t next = 0;

	while (reader_ok(r) && r->left) {
		struct grant_map m = { .state = GRANT_MAP_USED };
		uint32_t handle = reader_u32(r), flags;

		m.ref = reader_u32(r);
		m.mfn = reader_u32(r);
		flags = reader_u32(r);
		m.flags = (uint16_t)flags;
		if (!reader_ok(r) || handle < next || handle >= GRANT_MAX_MAPS || m.ref >= GRANT_MAX_REFS ||
		    m.mfn >= d->max_pages || flags > UINT16_MAX)
			return false;
		map[handle] = m;
		next = handle + 1;
	}
	return true;
}

/* The uses behind the maps.  d->lock held. */
static void apply_grant_maps(struct domain *d, const struct grant_map *map)
{
	memcpy(d->grant->map, map, sizeof(d->grant->map));
	for (uint32_t i = 0; i < GRANT_MAX_MAPS; i++) {
		struct grant_use *use = &d->grant->use[map[i].ref];

		if (map[i].state != GRANT_MAP_USED)
			continue;
		use->mfn = map[i].mfn;
		if (map[i].flags & GNTMAP_readonly)
			use->readers++;
		else
			use->writers++;
	}
}

/* ---- domain ---- */

int abi_domain_save(struct domain *d, struct buf *out)
{
	buf_u32(out, DOMAIN_VERSION);
	buf_u32(out, d->nr_vcpus);
	buf_u64(out, d->max_pages);
	pthread_mutex_lock(&d->lock);
	frame_runs_save(d, out);
	buf_u64(out, system_time_ns(d));
	buf_u64(out, abi_realtime_ns() - d->clock.slept_ns);
	buf_u64(out, d->tsc_khz);
	buf_u64(out, 0);
	buf_u64(out, d->vm_assist);
	buf_u32(out, (uint32_t)atomic_load(&d->shutdown_reason));
	buf_u32(out, (uint32_t)d->shutdown_code);
	buf_u64(out, d->store_mfn);
	buf_u64(out, d->console_mfn);
	buf_u32(out, d->store_port);
	buf_u32(out, d->console_port);
	save_evtchn(d, out);
	buf_u32(out, d->grant->nr_frames);
	save_grant_maps(d, out);
	pthread_mutex_unlock(&d->lock);
	return buf_ok(out) ? 0 : -ENOMEM;
}

/* A domain record, parsed and not yet applied. */
struct domain_scratch {
	uint64_t *populated;
	uint8_t *pt_type;
	struct evtchn_state *evtchn;
	struct grant_map *grant_map;
	uint64_t system_ns, realtime_ns, tsc_khz, vm_assist, store_mfn, console_mfn;
	int32_t shutdown_reason, shutdown_code;
	uint32_t store_port, console_port, grant_frames;
};

static void scratch_free(struct domain_scratch *s)
{
	free(s->populated);
	free(s->pt_type);
	free(s->evtchn);
	free(s->grant_map);
}

static bool reason_ok(int32_t reason) { return reason >= DOMAIN_RUNNING && reason <= SHUTDOWN_MAX; }

static bool domain_parse(const struct domain *d, struct domain_scratch *s, struct reader *r)
{
	if (reader_u32(r) != DOMAIN_VERSION || reader_u32(r) != d->nr_vcpus || reader_u64(r) != d->max_pages)
		return false;
	if (!frame_runs_load(d, r, s->populated, s->pt_type))
		return false;
	s->system_ns = reader_u64(r);
	s->realtime_ns = reader_u64(r);
	s->tsc_khz = reader_u64(r);
	reader_u64(r);
	s->vm_assist = reader_u64(r);
	s->shutdown_reason = (int32_t)reader_u32(r);
	s->shutdown_code = (int32_t)reader_u32(r);
	s->store_mfn = reader_u64(r);
	s->console_mfn = reader_u64(r);
	s->store_port = reader_u32(r);
	s->console_port = reader_u32(r);
	if (!reader_ok(r) || !load_evtchn(d, s->evtchn, s->populated, r))
		return false;
	s->grant_frames = reader_u32(r);
	/* 2^62 ns are 146 years: anything above is damage, and sums with it could wrap. */
	if (!load_grant_maps(d, s->grant_map, r))
		return false;
	return reader_done(r) && s->system_ns < 1UL << 62 && s->realtime_ns < 1UL << 62 && s->tsc_khz &&
	       reason_ok(s->shutdown_reason) && reason_ok(s->shutdown_code) &&
	       frame_in(s->populated, d, s->store_mfn) && frame_in(s->populated, d, s->console_mfn) &&
	       s->store_port < EVTCHN_MAX_PORTS && s->console_port < EVTCHN_MAX_PORTS &&
	       s->grant_frames && s->grant_frames <= SPECIAL_NR_GRANT;
}

static void domain_apply(struct domain *d, struct domain_scratch *s)
{
	uint64_t now = abi_realtime_ns(), saved = s->realtime_ns + (uint64_t)d->saved_clock_behind_ns, words = (d->max_pages + 63) / 64, held = 0;
	uint8_t *before = d->pt_type;
	uint64_t pause;

	pthread_mutex_lock(&d->lock);
	memcpy(d->populated, s->populated, words * sizeof(uint64_t));
	d->pt_type = s->pt_type;               /* an octet a frame: not copied while the guest stands still */
	s->pt_type = before;
	for (uint64_t i = 0; i < words; i++)
		held += (uint64_t)__builtin_popcountll(s->populated[i]);
	atomic_store(&d->tot_pages, held);
	memcpy(d->evtchn, s->evtchn, sizeof(*d->evtchn));
	d->vm_assist = s->vm_assist;
	atomic_store(&d->shutdown_reason, s->shutdown_reason);
	d->shutdown_code = s->shutdown_code;
	d->store_mfn = s->store_mfn;
	d->console_mfn = s->console_mfn;
	d->store_port = s->store_port;
	d->console_port = s->console_port;
	d->grant->nr_frames = s->grant_frames;
	apply_grant_maps(d, s->grant_map);
	d->grant->unsettled = true;
	/* System time goes on by the true pause; a clock that is behind the source's does not take it back. */
	pause = now > saved && saved < 1UL << 62 ? now - saved : 0;
	d->clock.jumped = pause > JUMP_NS && pause <= SLEEP_NS;
	d->clock.slept_ns = pause > SLEEP_NS ? pause : 0;
	time_set(d, s->system_ns + (pause > SLEEP_NS ? 0 : pause));
	pthread_mutex_unlock(&d->lock);
}

int abi_domain_load(struct domain *d, const void *p, size_t n)
{
	struct domain_scratch s = { .populated = calloc((d->max_pages + 63) / 64, sizeof(uint64_t)),
				    .pt_type = calloc(d->max_pages, 1), .evtchn = calloc(1, sizeof(*s.evtchn)),
				    .grant_map = calloc(GRANT_MAX_MAPS, sizeof(*s.grant_map)) };
	struct reader r;
	int rc = -ENOMEM;

	if (!s.populated || !s.pt_type || !s.evtchn || !s.grant_map)
		goto out;
	reader_init(&r, p, n);
	rc = -EINVAL;
	if (!domain_parse(d, &s, &r))
		goto out;
	domain_apply(d, &s);
	rc = 0;
out:
	scratch_free(&s);
	return rc;
}

/* ---- the TSC ---- */

int abi_tsc_save(struct domain *d, struct buf *out)
{
	struct tsc_pair p = tsc_pair_get(d);

	buf_u64(out, p.tsc);
	buf_u64(out, p.ns);
	buf_u64(out, p.khz);
	return buf_ok(out) ? 0 : -ENOMEM;
}

int abi_tsc_load(struct domain *d, const void *b, size_t n)
{
	struct tsc_pair p;
	struct reader r;

	reader_init(&r, b, n);
	p.tsc = reader_u64(&r);
	p.ns = reader_u64(&r);
	p.khz = reader_u64(&r);
	return reader_done(&r) ? tsc_go_on(d, &p) : -EINVAL;
}

void abi_domain_settle(struct domain *d)
{
	pthread_mutex_lock(&d->lock);
	if (d->grant->unsettled)
		grant_sweep(d);
	d->grant->unsettled = false;
	time_sleep_over(d);
	pthread_mutex_unlock(&d->lock);
	watchdog_rearm(d);
}

/* ---- vCPU ---- */

int abi_vcpu_save(struct vcpu *v, struct buf *out)
{
	const struct cpu_regs *r = &v->regs;

	buf_u32(out, VCPU_VERSION);
	buf_u32(out, v->id);
	for (unsigned i = 0; i < NR_GPR; i++)
		buf_u64(out, r->gpr[i]);
	buf_u64(out, r->rip);
	buf_u64(out, r->rflags);
	buf_u64(out, r->fs_base);
	buf_u64(out, r->gs_base);
	buf_u64(out, r->gs_base_other);
	for (unsigned i = 0; i < NR_SEG; i++)
		buf_u16(out, r->sel[i]);
	buf_u8(out, r->kernel_mode);
	buf_u8(out, r->code32);
	buf_u16(out, 0);
	buf_u64(out, v->cr3_kernel);
	buf_u64(out, v->cr3_user);
	buf_u64(out, v->cr0_ts);
	buf_u64(out, v->cr4);
	buf_u64(out, v->xcr0);
	for (unsigned i = 0; i < 8; i++)
		buf_u64(out, v->dr[i]);
	buf_u64(out, v->msr_pat);
	buf_u64(out, v->msr_tsc_aux);
	for (unsigned i = 0; i < 16; i++)
		buf_u64(out, v->gdt_mfn[i]);
	buf_u32(out, v->gdt_ents);
	buf_u32(out, v->ldt_ents);
	buf_u64(out, v->ldt_base);
	buf_u64(out, v->kernel_sp);
	buf_u16(out, v->kernel_ss);
	buf_u8(out, v->iopl);
	buf_u8(out, atomic_load(&v->nmi_pending));
	buf_u8(out, v->cb_failsafe_mask);
	buf_u8(out, v->cb_syscall_mask);
	buf_u8(out, v->cb_syscall32_mask);
	buf_u8(out, v->cb_sysenter_mask);
	for (unsigned i = 0; i < 256; i++) {
		buf_u64(out, v->trap[i].address);
		buf_u16(out, v->trap[i].cs);
		buf_u8(out, v->trap[i].dpl);
		buf_u8(out, v->trap[i].mask_events);
		buf_u32(out, 0);
	}
	buf_u64(out, v->cb_event);
	buf_u64(out, v->cb_failsafe);
	buf_u64(out, v->cb_syscall);
	buf_u64(out, v->cb_syscall32);
	buf_u64(out, v->cb_sysenter);
	buf_u64(out, v->cb_nmi);
	buf_u64(out, v->info_mfn);
	buf_u32(out, v->info_offset);
	buf_u32(out, v->initialised);
	buf_u64(out, v->runstate_va);
	buf_u64(out, v->time_va);
	buf_u32(out, (uint32_t)v->runstate.state);
	buf_u32(out, (uint32_t)atomic_load(&v->run_state));
	buf_u64(out, v->runstate.state_entry_time);
	for (unsigned i = 0; i < 4; i++)
		buf_u64(out, v->runstate.time[i]);
	buf_u64(out, v->singleshot_ns);
	buf_u64(out, v->periodic_ns);
	buf_u64(out, v->periodic_next_ns);
	buf_u64(out, v->poll_until_ns);
	buf_u32(out, v->poll_port);
	buf_u32(out, XSAVE_AREA_SIZE);
	buf_bytes(out, v->xsave, XSAVE_AREA_SIZE);
	return buf_ok(out) ? 0 : -ENOMEM;
}

static bool regs_parse(struct cpu_regs *r, struct reader *in)
{
	for (unsigned i = 0; i < NR_GPR; i++)
		r->gpr[i] = reader_u64(in);
	r->rip = reader_u64(in);
	r->rflags = reader_u64(in);
	r->fs_base = reader_u64(in);
	r->gs_base = reader_u64(in);
	r->gs_base_other = reader_u64(in);
	for (unsigned i = 0; i < NR_SEG; i++)
		r->sel[i] = reader_u16(in);
	r->kernel_mode = reader_u8(in);
	r->code32 = reader_u8(in);
	reader_u16(in);
	/* Bits that exist in RFLAGS (SDM vol. 1, 3.4.3); VM and IOPL are never the guest's. */
	return reader_ok(in) && r->kernel_mode <= 1 && r->code32 <= 1 && !(r->kernel_mode && r->code32) &&
	       !(r->rflags & ~0x2d4fd7UL) && va_is_canonical(r->fs_base) && va_is_canonical(r->gs_base) &&
	       va_is_canonical(r->gs_base_other);
}

static bool l4_ok(const struct vcpu *v, uint64_t mfn, bool may_be_none)
{
	return frame_is_populated(v->d, mfn) || (may_be_none && !mfn);
}

static bool mmu_parse(struct vcpu *v, struct reader *in)
{
	v->cr3_kernel = reader_u64(in);
	v->cr3_user = reader_u64(in);
	v->cr0_ts = reader_u64(in);
	v->cr4 = reader_u64(in);
	v->xcr0 = reader_u64(in);
	for (unsigned i = 0; i < 8; i++)
		v->dr[i] = reader_u64(in);
	v->msr_pat = reader_u64(in);
	v->msr_tsc_aux = reader_u64(in);
	return reader_ok(in) && l4_ok(v, v->cr3_user, true) && v->cr0_ts <= 1 && (v->xcr0 & 1) && v->msr_tsc_aux <= UINT32_MAX;
}

static bool tables_parse(struct vcpu *v, struct reader *in)
{
	uint64_t frames[16];
	uint32_t gdt_ents, ldt_ents;

	for (unsigned i = 0; i < 16; i++)
		frames[i] = reader_u64(in);
	gdt_ents = reader_u32(in);
	ldt_ents = reader_u32(in);
	v->ldt_base = reader_u64(in);
	v->ldt_ents = ldt_ents;
	v->kernel_sp = reader_u64(in);
	v->kernel_ss = reader_u16(in);
	v->iopl = reader_u8(in);
	atomic_store(&v->nmi_pending, reader_u8(in));
	v->cb_failsafe_mask = reader_u8(in);
	v->cb_syscall_mask = reader_u8(in);
	v->cb_syscall32_mask = reader_u8(in);
	v->cb_sysenter_mask = reader_u8(in);
	return reader_ok(in) && !pv_set_gdt(v, frames, gdt_ents) && ldt_ents <= 8192 && va_is_canonical(v->ldt_base) &&
	       !(v->ldt_base & (PAGE_SIZE_HV - 1)) && v->iopl <= 3 && atomic_load(&v->nmi_pending) <= 3 &&
	       v->cb_failsafe_mask <= 1 && v->cb_syscall_mask <= 1 && v->cb_syscall32_mask <= 1 && v->cb_sysenter_mask <= 1;
}

static bool traps_parse(struct vcpu *v, struct reader *in)
{
	uint64_t *const callbacks[] = { &v->cb_event, &v->cb_failsafe, &v->cb_syscall, &v->cb_syscall32, &v->cb_sysenter,
					&v->cb_nmi };

	for (unsigned i = 0; i < 256; i++) {
		struct trap_entry *t = &v->trap[i];

		t->address = reader_u64(in);
		t->cs = reader_u16(in);
		t->dpl = reader_u8(in);
		t->mask_events = reader_u8(in);
		reader_u32(in);
		if (!va_is_canonical(t->address) || t->dpl > 3 || t->mask_events > 1)
			return false;
	}
	for (unsigned i = 0; i < sizeof(callbacks) / sizeof(callbacks[0]); i++) {
		*callbacks[i] = reader_u64(in);
		if (!va_is_canonical(*callbacks[i]))
			return false;
	}
	return reader_ok(in);
}

static bool info_place(struct vcpu *v)
{
	uint64_t own = offsetof(struct shared_info, vcpu_info) + v->id * sizeof(struct vcpu_info);

	if (v->info_offset > PAGE_SIZE_HV - sizeof(struct vcpu_info) || (v->info_offset & 7))
		return false;
	if (v->info_mfn == SPECIAL_MFN + SPECIAL_SHARED_INFO ? v->info_offset != own : !frame_is_populated(v->d, v->info_mfn))
		return false;
	v->info = (struct vcpu_info *)(void *)((uint8_t *)domain_frame(v->d, v->info_mfn) + v->info_offset);
	return true;
}

static bool shared_parse(struct vcpu *v, struct reader *in)
{
	uint32_t run_state;

	v->info_mfn = reader_u64(in);
	v->info_offset = reader_u32(in);
	v->initialised = (uint8_t)!!reader_u32(in);
	v->runstate_va = reader_u64(in);
	v->time_va = reader_u64(in);
	v->runstate.state = (int)reader_u32(in);
	run_state = reader_u32(in);
	v->runstate.state_entry_time = reader_u64(in);
	for (unsigned i = 0; i < 4; i++)
		v->runstate.time[i] = reader_u64(in);
	v->singleshot_ns = reader_u64(in);
	v->periodic_ns = reader_u64(in);
	v->periodic_next_ns = reader_u64(in);
	v->poll_until_ns = reader_u64(in);
	v->poll_port = reader_u32(in);
	if (!reader_ok(in) || run_state > VCPU_POLLING || v->runstate.state < 0 || v->runstate.state > RUNSTATE_offline)
		return false;
	atomic_store(&v->run_state, (int)run_state);
	return info_place(v) && va_is_canonical(v->runstate_va) && va_is_canonical(v->time_va) &&
	       (!v->periodic_ns || (v->periodic_ns >= 1000000 && v->periodic_next_ns)) &&
	       (run_state == VCPU_DOWN || v->initialised) && (!v->initialised || l4_ok(v, v->cr3_kernel, false));
}

/* Components this host keeps: XCR0, read where the system has it on (SDM vol. 1, 13.3). CPUID is slow in a VM: once. */
static uint64_t host_xcr0(void)
{
	static _Atomic uint64_t cached;
	uint64_t xcr0 = atomic_load(&cached);
	unsigned a, b, c, d;

	if (xcr0)
		return xcr0;
	xcr0 = 3;
	if (__get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE)) {
		__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
		xcr0 = (uint64_t)d << 32 | a;
	}
	atomic_store(&cached, xcr0);
	return xcr0;
}

/*
 * What XRSTOR takes without a fault (SDM vol. 1, 13.8): a standard-format area whose XSTATE_BV names components the
 * host has, a zero rest of the header, no reserved bit in MXCSR.
 */
static bool xsave_parse(struct vcpu *v, struct reader *in)
{
	static const uint8_t zeros[48];
	uint64_t xstate_bv;
	uint32_t mxcsr;

	if (reader_u32(in) != XSAVE_AREA_SIZE || !reader_bytes(in, v->xsave, XSAVE_AREA_SIZE) || !reader_done(in))
		return false;
	memcpy(&xstate_bv, v->xsave + 512, sizeof(xstate_bv));
	memcpy(&mxcsr, v->xsave + 24, sizeof(mxcsr));
	return !((xstate_bv | v->xcr0) & ~host_xcr0()) && !memcmp(v->xsave + 520, zeros, sizeof(zeros)) && !(mxcsr & ~0xffffU);
}

/* The fields above and no other: the rest belongs to the thread and the engine. */
static void vcpu_apply(struct vcpu *v, const struct vcpu *from)
{
	v->regs = from->regs;
	v->cr3_kernel = from->cr3_kernel;
	v->cr3_user = from->cr3_user;
	v->cr0_ts = from->cr0_ts;
	v->cr4 = from->cr4;
	v->xcr0 = from->xcr0;
	memcpy(v->dr, from->dr, sizeof(v->dr));
	v->msr_pat = from->msr_pat;
	v->msr_tsc_aux = from->msr_tsc_aux;
	memcpy(v->gdt_mfn, from->gdt_mfn, sizeof(v->gdt_mfn));
	v->gdt_ents = from->gdt_ents;
	v->ldt_base = from->ldt_base;
	v->ldt_ents = from->ldt_ents;
	v->kernel_sp = from->kernel_sp;
	v->kernel_ss = from->kernel_ss;
	memcpy(v->trap, from->trap, sizeof(v->trap));
	v->cb_event = from->cb_event;
	v->cb_failsafe = from->cb_failsafe;
	v->cb_syscall = from->cb_syscall;
	v->cb_syscall32 = from->cb_syscall32;
	v->cb_sysenter = from->cb_sysenter;
	v->cb_nmi = from->cb_nmi;
	v->cb_failsafe_mask = from->cb_failsafe_mask;
	v->cb_syscall_mask = from->cb_syscall_mask;
	v->cb_syscall32_mask = from->cb_syscall32_mask;
	v->cb_sysenter_mask = from->cb_sysenter_mask;
	v->iopl = from->iopl;
	atomic_store(&v->nmi_pending, atomic_load(&from->nmi_pending));
	v->info = from->info;
	v->info_mfn = from->info_mfn;
	v->info_offset = from->info_offset;
	v->initialised = from->initialised;
	v->runstate_va = from->runstate_va;
	v->time_va = from->time_va;
	v->runstate = from->runstate;
	v->singleshot_ns = from->singleshot_ns;
	v->periodic_ns = from->periodic_ns;
	v->periodic_next_ns = from->periodic_next_ns;
	v->poll_until_ns = from->poll_until_ns;
	v->poll_port = from->poll_port;
	atomic_store(&v->run_state, atomic_load(&from->run_state));
	memcpy(v->xsave, from->xsave, sizeof(v->xsave));
	v->time_generation = v->d->clock.generation - 1;      /* told anew as it enters the guest */
}

int abi_vcpu_load(struct vcpu *v, const void *p, size_t n)
{
	struct vcpu *s = aligned_alloc(64, (sizeof(*s) + 63) & ~63UL);
	struct reader r;
	int rc = -EINVAL;

	if (!s)
		return -ENOMEM;
	memset(s, 0, sizeof(*s));
	s->d = v->d;
	s->id = v->id;
	reader_init(&r, p, n);
	if (reader_u32(&r) != VCPU_VERSION || reader_u32(&r) != v->id)
		goto out;
	if (!regs_parse(&s->regs, &r) || !mmu_parse(s, &r) || !tables_parse(s, &r) || !traps_parse(s, &r) ||
	    !shared_parse(s, &r) || !xsave_parse(s, &r))
		goto out;
	pthread_mutex_lock(&v->d->lock);
	vcpu_apply(v, s);
	pthread_mutex_unlock(&v->d->lock);
	rc = 0;
out:
	free(s);
	return rc;
}
