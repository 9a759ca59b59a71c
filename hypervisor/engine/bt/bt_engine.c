/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_engine.c - the bt engine as engine.h sees it: set-up, kicks, shoot-downs, the dirty log.
 */
#include "hypervisor/engine/bt/bt_int.h"

#include <cpuid.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "lib/huge.h"

#define ARCH_SET_GS 0x1001
#define BT_VCPU_BYTES ((sizeof(struct bt_vcpu) + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1))

/* pext is one fast instruction on Intel and from Zen 3 on; before, AMD's is microcode. */
static bool pext_is_fast(void)
{
	unsigned a, b, c, d, family;

	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_BMI2))
		return false;
	__cpuid(0, a, b, c, d);
	if (b != signature_AMD_ebx)
		return true;
	__cpuid(1, a, b, c, d);
	family = ((a >> 8) & 15) + ((a >> 20) & 255);
	return family >= 0x19;
}

static int bt_domain_init(struct domain *d, size_t code_cache_bytes)
{
	struct bt_domain *bt = calloc(1, sizeof(*bt));
	const char *trace = getenv("HV_BT_TRACE");
	int rc;

	if (!bt)
		return -ENOMEM;
	bt->d = d;
	bt_decode_init();
	pthread_mutex_init(&bt->lock, NULL);
	pthread_mutex_init(&bt->stop_lock, NULL);
	bt->use_pext = pext_is_fast();
	bt->trace_exec = trace && strstr(trace, "exec");
	bt->trace_stat = trace && strstr(trace, "stat");
	bt->trace_emulate = trace && strstr(trace, "emulate");
	bt->trace_blocks = trace && strstr(trace, "block");
	rc = bt_cache_init(bt, code_cache_bytes);
	if (!rc)
		rc = bt_signals_install();
	if (rc) {
		if (bt->rw)
			bt_cache_fini(bt);
		free(bt);
		return rc;
	}
	d->bt = bt;
	return 0;
}

static void bt_domain_destroy(struct domain *d)
{
	if (!d->bt)
		return;
	bt_cache_fini(d->bt);
	free(d->bt);
	d->bt = NULL;
}

static void jump_cache_reset(struct bt_vcpu *bv)
{
	for (int b = 0; b < BT_NR_BANKS; b++)
		for (unsigned i = 0; i < BT_JC_ENTRIES; i++)
			bv->jc[b][i] = bt_host(bv->bt, bv->bt->stub_ijmp);
	memset(bv->jb, 0, sizeof(bv->jb));
	memset(bv->cvalid, 0, sizeof(bv->cvalid));
	memset(bv->cdelta, BT_NOWHERE_BYTE, sizeof(bv->cdelta));
	bv->nr_page_log[0] = bv->nr_page_log[1] = bv->nr_page_log[2] = 0;
}

/* An xsave area of a processor just reset. */
static void xsave_reset(struct vcpu *v)
{
	static const uint16_t fcw = 0x37f;
	static const uint32_t mxcsr = 0x1f80;

	memset(v->xsave, 0, sizeof(v->xsave));
	memcpy(v->xsave, &fcw, sizeof(fcw));
	memcpy(v->xsave + 24, &mxcsr, sizeof(mxcsr));
}

static struct vcpu *bt_vcpu_alloc(void)
{
	struct bt_vcpu *bv = huge_map(BT_VCPU_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (!bv)
		return NULL;
	madvise(bv, BT_VCPU_BYTES, MADV_HUGEPAGE);       /* translated code looks all over its tables */
	return &bv->v;
}

static void bt_vcpu_free(struct vcpu *v) { munmap(bt_around(v), BT_VCPU_BYTES); }

static int bt_vcpu_init(struct vcpu *v)
{
	struct bt_vcpu *bv = bt_around(v);
	int rc;

	xsave_reset(v);
	rc = emu_vcpu_init(v);
	if (rc)
		return rc;
	bv->bt = v->d->bt;
	bv->self = bv;
	bv->fn_cold = bt_cold;
	bv->fn_gate = bt_gate;
	jump_cache_reset(bv);
	for (int b = 0; b < BT_NR_BANKS; b++)
		bt_tlb_init(&bv->tlb.bank[b], (enum bt_bank)b, bv->bt->use_pext);
	v->engine_private = bv;
	return 0;
}

static void trace_stat(const struct bt_vcpu *bv)
{
	static const char *const names[BS_NR] = {
		"run", "kick", "step", "cold", "slow", "ijmp", "link", "self", "emulate", "string", "make", "flush", "cr3", "gate",
	};

	fprintf(stderr, "bt: v%u", bv->v.id);
	for (int i = 0; i < BS_NR; i++)
		fprintf(stderr, " %s %lu", names[i], bv->stat[i]);
	fprintf(stderr, " full %lu cache %zu + %zu\n", bv->bt->flushes, bv->bt->used, bv->bt->cold_used - bv->bt->cold_first);
}

static void bt_vcpu_destroy(struct vcpu *v)
{
	struct bt_vcpu *bv = bt_of(v);

	if (!bv)
		return;
	if (bv->bt->trace_stat)
		trace_stat(bv);
	emu_vcpu_destroy(v);
	if (bv->altstack)
		munmap(bv->altstack, 128 * 1024);
	bv->altstack = NULL;
	v->engine_private = NULL;
}

static int bt_vcpu_enter_thread(struct vcpu *v)
{
	struct bt_vcpu *bv = bt_of(v);
	int rc = bt_signals_thread(bv);

	if (rc)
		return rc;
	return syscall(SYS_arch_prctl, ARCH_SET_GS, bv) ? -errno : 0;
}

static void bt_kick(struct vcpu *v)
{
	atomic_store(&v->kick, true);
	if (atomic_load(&v->in_guest))
		bt_attention(bt_of(v));
}

/* Who holds the lock may wait for someone who waits for us to serve a request.  bv: the caller's vCPU, NULL if it is none's. */
static void stop_lock_take(struct bt_domain *bt, struct bt_vcpu *bv)
{
	while (pthread_mutex_trylock(&bt->stop_lock)) {
		if (bv)
			bt_serve(bv);
		sched_yield();
	}
}

/* With the stop lock: until no other vCPU is in translated code nor, with `splitting`, in the emulator. */
static void world_stop(struct bt_domain *bt, struct bt_vcpu *bv, bool splitting)
{
	struct domain *d = bt->d;

	atomic_store(&bt->splitting, splitting);
	atomic_store(&bt->stopping, true);
	for (unsigned i = 0; i < d->nr_vcpus; i++) {
		struct bt_vcpu *other = d->vcpu[i] ? bt_of(d->vcpu[i]) : NULL;

		if (!other || other == bv)
			continue;
		if (atomic_load(&other->in_code))
			bt_attention(other);
		while (atomic_load(&other->in_code) || (splitting && atomic_load(&other->in_emulator))) {
			if (bv)
				bt_serve(bv);
			sched_yield();
		}
	}
}

void bt_split_begin(struct vcpu *v)
{
	struct bt_vcpu *bv = bt_of(v);

	atomic_store(&bv->in_emulator, false);            /* the emulator calls before it has touched anything */
	stop_lock_take(bv->bt, bv);
	world_stop(bv->bt, bv, true);
}

void bt_split_end(struct vcpu *v)
{
	struct bt_domain *bt = bt_of(v)->bt;

	atomic_store(&bt->splitting, false);
	atomic_store(&bt->stopping, false);
	pthread_mutex_unlock(&bt->stop_lock);
}

/* With the stop lock: every vCPU outside the cache, and that empty. */
static void world_empty(struct bt_domain *bt, struct bt_vcpu *bv, bool release)
{
	struct domain *d = bt->d;

	world_stop(bt, bv, false);
	pthread_mutex_lock(&bt->lock);
	bt_cache_reset(bt);
	if (release)
		bt_cache_release(bt);
	for (unsigned i = 0; i < d->nr_vcpus; i++)
		if (d->vcpu[i] && bt_of(d->vcpu[i]))
			jump_cache_reset(bt_of(d->vcpu[i]));
	pthread_mutex_unlock(&bt->lock);
	atomic_store(&bt->stopping, false);
}

/* The cache is full: start afresh. */
void bt_world_flush(struct bt_vcpu *bv)
{
	struct bt_domain *bt = bv->bt;
	uint64_t gen = bt->flushes;

	stop_lock_take(bt, bv);
	if (gen == bt->flushes)
		world_empty(bt, bv, false);
	pthread_mutex_unlock(&bt->stop_lock);
}

/* What an idle guest needs is little, and made again in no time; what it booted with it never needs again. */
static void bt_trim(struct domain *d)
{
	struct bt_domain *bt = d->bt;
	size_t used;

	stop_lock_take(bt, NULL);
	pthread_mutex_lock(&bt->lock);
	used = bt->used - bt->first + bt->cold_used - bt->cold_first;
	pthread_mutex_unlock(&bt->lock);
	if (used > bt->size / 16)                        /* less is not worth it */
		world_empty(bt, NULL, true);
	pthread_mutex_unlock(&bt->stop_lock);
}

static void bt_engine_frame_written(struct domain *d, uint64_t mfn) { bt_frame_written(d, mfn, 0, PAGE_SIZE_HV); }

static int bt_dirty_log(struct domain *d, enum dirty_op op)
{
	atomic_store(&d->dirty_logging, op == DIRTY_LOG_ON);
	if (op == DIRTY_LOG_ON)
		bt_request(d, NULL, ~0UL, BT_REQ_WTAGS, 0);
	return 0;
}

/*
 * The bitmap is taken before the tags: a page written through an old tag in between was marked before and is in `out`,
 * and its contents are read by the caller after we return.
 */
static int bt_dirty_sync(struct domain *d, uint64_t *out)
{
	uint64_t words = (domain_nr_frames(d) + 63) / 64;

	for (uint64_t i = 0; i < words; i++)             /* most are 0, and need no locked exchange */
		out[i] = atomic_load(&d->dirty[i]) ? atomic_exchange(&d->dirty[i], 0) : 0;
	bt_request(d, NULL, ~0UL, BT_REQ_WTAGS, 0);
	return 0;
}

static void bt_sync_state(struct vcpu *v)
{
	/* run() leaves regs and xsave complete */
}

const struct engine_ops engine_bt = {
	.name = "bt",
	.domain_init = bt_domain_init,
	.domain_destroy = bt_domain_destroy,
	.vcpu_init = bt_vcpu_init,
	.vcpu_destroy = bt_vcpu_destroy,
	.vcpu_alloc = bt_vcpu_alloc,
	.vcpu_free = bt_vcpu_free,
	.vcpu_enter_thread = bt_vcpu_enter_thread,
	.run = bt_run,
	.timer_signal = SIGUSR1,
	.kick = bt_kick,
	.full_context = bt_full_context,
	.tlb_flush_local = bt_flush_local,
	.tlb_invlpg_local = bt_invlpg_local,
	.tlb_shootdown = bt_tlb_shootdown,
	.cr3_changed = bt_cr3_changed,
	.mode_changed = bt_mode_changed,
	.frame_written = bt_engine_frame_written,
	.dirty_log = bt_dirty_log,
	.dirty_sync = bt_dirty_sync,
	.code_watch = bt_code_watch,
	.code_list = bt_code_list,
	.code_make = bt_code_make,
	.copy_from = mmu_copy_from,
	.copy_to = mmu_copy_to,
	.trim = bt_trim,
	.sync_state = bt_sync_state,
};
