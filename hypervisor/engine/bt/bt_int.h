/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_int.h - what the translator's own files share: the state block behind %gs, the code cache and its tables.
 *
 * Registers while translated code runs: every guest general register is in the host register of the same name, except
 * those that a block has spilled to bt_vcpu.v.regs.gpr[] to have scratch registers.  Where one block ends and the next begins,
 * exactly r10 and r11 (BT_SLOT_REGS), which compilers take last, are in their slots and free to use; so a block that needs
 * scratch registers and leaves those two alone spills and reloads nothing.  Status flags are in the host's flags or
 * in bt_vcpu.fl (lahf/seto format); which of both, and which registers are spilled, is recorded for every guest
 * instruction (struct bt_irec) and every slow path (struct bt_site), so that the precise state of an instruction's
 * start can always be had.  DF is always 0 in translated code: with DF set the emulator runs.
 *
 * User code at addresses that differ from process to process (position-independent programs, libraries, the vDSO) is
 * relative: translated for a template address below 2 GiB, with bt_vcpu.delta, what the guest's address is above it, added
 * wherever the code needs to know where it is.  Pages and blocks of relative code, and targets of its exits, have template
 * addresses; all pages of one library share a delta as far as that can be arranged, so that jumps between them are chained.
 *
 * Locks: bt_domain.lock guards pages, blocks, exits, sites, the allocation of code and the patching of it.  It nests
 * inside nothing and nothing is called with it that waits for another vCPU.
 */
#ifndef HV_BT_INT_H
#define HV_BT_INT_H

#include "hypervisor/engine/bt/bt_tlb.h"
#include "hypervisor/engine/bt/bt_decode.h"

#define BT_JC_ENTRIES 32768                 /* jump cache, a bank; indexed by the low bits of the address */
#define BT_MAX_PAGES 65536                  /* code pages (va page, frame, mode) before a full flush */
#define BT_MAX_INSNS 64                     /* guest instructions a block */
#define BT_PAGE_LOG 1024
#define BT_REL_FIRST (1ULL << 36)           /* user code from here on is relative: programs at fixed addresses lie far below */
#define BT_REL_END (1ULL << 47)
#define BT_TEMPLATE_FIRST 0x10000000ULL     /* template addresses, and the next page's, fit a 32-bit displacement */
#define BT_TEMPLATE_END 0x70000000ULL
#define BT_NOWHERE_BYTE 1
#define BT_NOWHERE 0x0101010101010101ULL    /* no delta: not a multiple of a page */
#define BT_TWINS 16                         /* relative pages of one frame to look at: mapped so often at once */
#define BT_ANYWHERE UINT64_MAX              /* no template address is asked for */
#define BT_S0 10                            /* r10: also the target of an indirect jump */
#define BT_S1 11
#define BT_SLOT_REGS (1U << BT_S0 | 1U << BT_S1)

/* Status flags as lahf and seto %al leave them in %ax. */
#define BT_RFLAGS_STATUS 0x8d5ULL           /* CF PF AF ZF SF OF */
static inline uint64_t bt_fl_to_rflags(uint16_t fl) { return ((fl >> 8) & 0xd5) | ((fl & 1) ? 0x800 : 0); }
#define BT_RFLAGS_RF 0x10000ULL
static inline uint16_t bt_rflags_to_fl(uint64_t r) { return (uint16_t)(((r & 0xd5) << 8) | 0x200 | ((r >> 11) & 1)); }

enum bt_exit_kind {
	BX_LINK,            /* a direct jump not yet chained */
	BX_SELF,            /* a block found that it is invalid, or its page not known to be mapped */
	BX_EMULATE, BX_STRING, BX_SYSCALL,
	BX_BOUNCE,          /* end of a bounce thunk */
};

/* Values of bt_vcpu.exit_id that are no index. */
#define BT_EXIT_IJMP 0xffffffffU            /* indirect jump, v.regs.rip says where */
#define BT_EXIT_RECOVERED 0xfffffffeU       /* state was rebuilt at an instruction's start; bt_vcpu.why says why */

enum bt_why {
	BW_KICK, BW_EXCEPTION, BW_SLOW, BW_UNGROUP,
	BW_SERVED, BW_STOP,                 /* bt_gate() served an exit; run() goes on, or returns */
};

struct bt_block;

struct bt_exit {
	struct bt_block *from, *to;
	struct bt_exit *next_in;            /* in to->in */
	uint64_t target;                    /* guest address */
	uint32_t patch;                     /* offset of the rel32 in the cache; 0: not patchable */
	uint32_t stub;                      /* offset of the code that leaves through this exit */
	uint8_t kind;
	bool no_flags;                      /* status flags are not provided */
	bool rel;                           /* from's: target is a template address */
};

struct bt_site {                            /* one memory access's slow path */
	uint32_t resume;                    /* offset of the retry label */
	uint32_t thunk;                     /* offset of the bounce thunk; 0: none yet */
	struct bt_block *block;
	uint16_t mask;                      /* registers that are in their slots */
	uint16_t insn;
	uint8_t a, i;                       /* address and index register; i == BT_NO_REG: constant address */
	uint8_t size, len;                  /* of the access; of the instruction */
	uint16_t range, off;                /* what is checked, and where in it the access lies (bt_xlat_group.c) */
	bool write, flags_in_slot, stack, simple; /* simple: BC_MEM, a thunk can do it */
	bool locked;                        /* and more than a byte: unaligned it takes the slow path */
};

struct bt_irec {                            /* one guest instruction of a block */
	uint16_t hoff, goff;                /* where it starts: host, guest, from the block's */
	uint16_t mask, op_mask;             /* spilled registers at its start, and at the instruction that may fault */
	bool fl_slot, op_fl_slot;
};

struct bt_page {                            /* code page: (va page, frame, bank, rel) */
	uint64_t va, frame;                 /* rel: va is the template address */
	struct bt_page *next_hash, *next_frame;
	struct bt_block *blocks, *blocks2;  /* that start here; that end here and start on the page before */
	uint64_t sum;                       /* ahead: of the bytes that its blocks were made from */
	uint32_t id;
	uint8_t bank;
	bool rel;
	bool seen;                          /* has run since bt_code_watch(); by any vCPU, without the lock */
	bool ahead;                         /* its blocks were made before anybody ran them (bt_ahead.c): to be proved */
};

struct bt_block {
	struct bt_page *page, *page2;       /* page2: of the second page, for an instruction that straddles */
	struct bt_block *next_page, *next_page2, *next_hash;
	struct bt_exit *in, *self;
	struct bt_irec *irec;
	uint64_t va;
	uint32_t entry, xentry, ientry;     /* offsets in the cache: plain; checks its page; checks its address too */
	uint32_t start, body_end, end;      /* start == entry */
	uint16_t len, dep_lo, dep_hi;       /* guest bytes; range of the page's bytes that it depends on */
	uint16_t nr;
	bool rel;                           /* the page's */
	bool dead, fl_live, loops;          /* fl_live: needs the status flags at entry; loops: inside itself */
	bool told;                          /* listed since bt_code_watch(); under the lock */
};

/* What the slow paths did, for HV_BT_TRACE=stat. */
enum bt_stat {
	BS_RUN, BS_KICK, BS_STEP, BS_COLD, BS_SLOW, BS_IJMP, BS_LINK, BS_SELF, BS_EMULATE, BS_STRING, BS_MAKE, BS_FLUSH, BS_CR3, BS_GATE,
	BS_NR
};

struct bt_vcpu {
	struct bt_vcpu_tlb tlb;             /* first: see bt_tlb.h */
	/*
	 * The vCPU itself: translated code keeps registers in v.regs.  gpr: slots, complete after an exit, as rip is.  The status flags of
	 * rflags are in fl while bt_run() has the vCPU, the others where they always are.
	 */
	struct vcpu v;
	uint64_t host[NR_GPR];              /* host registers while a slow path runs */
	uint64_t delta;                     /* where relative code runs, or ran last: guest addresses less template addresses */
	uint64_t host_rsp, resume, target, bounce_addr;
	struct bt_vcpu *self;
	int (*fn_cold)(struct bt_vcpu *bv), (*fn_gate)(struct bt_vcpu *bv);
	uint32_t exit_id, site;
	volatile uint32_t attention;        /* set by the signal handler: look around before entering */
	uint16_t fl;
	uint8_t ts;                         /* CR0.TS, for blocks that look at it */
	uint32_t loop_wait;                 /* rounds until a loop tries its fast form (bt_xlat_loop.c) */
	uint64_t loop_limit;                /* while it runs in that: where a register ends it */
	uint64_t jc[BT_NR_BANKS][BT_JC_ENTRIES];   /* host addresses of ientry, or of the miss stub */
	uint8_t cvalid[BT_MAX_PAGES];       /* per bt_page.id: the vCPU's tables map that page's va to its frame */
	uint64_t cdelta[BT_MAX_PAGES];      /* of relative pages: the delta at which they do, or BT_NOWHERE */

	/* from here on only C looks */
	struct bt_domain *bt;
	const struct bt_block *jb[BT_NR_BANKS][BT_JC_ENTRIES];   /* the blocks behind jc */
	volatile int why;
	struct bt_site slow;                /* BW_SLOW: the access, its address and instruction */
	uint32_t slow_id;
	uint64_t slow_va, slow_gen;
	unsigned slow_len;
	volatile uint32_t in_thunk;         /* a bounce thunk runs: faults are its instruction's */
	bool vec_live;                      /* guest vector state is in the registers */
	_Atomic uint32_t req;               /* BT_REQ_* */
	_Atomic uint64_t req_va;
	atomic_bool in_code;                /* may hold addresses of the code cache */
	atomic_bool in_emulator;            /* emu_step() may be at guest memory */
	uint32_t page_log[3][BT_PAGE_LOG];  /* valid pages: kernel upper half, kernel lower half, user */
	uint32_t nr_page_log[3];
	pid_t tid;
	uint64_t stat[BS_NR];
	void *altstack;
	uint8_t bounce[4096 + 192] __attribute__((aligned(64)));
};

#define BT_REQ_FLUSH 1U
#define BT_REQ_INVLPG 2U
#define BT_REQ_WTAGS 4U
#define BT_REQ_FORGET 8U                    /* which pages of code are mapped */

struct bt_domain {
	struct bt_domain_frames frames;     /* first: see bt_tlb.h */
	struct domain *d;
	pthread_mutex_t lock;
	uint8_t *rw, *rx;                   /* the cache's two mappings */
	/*
	 * Hot code, what runs when all goes well, fills [first, cold_first); slow paths, exits and thunks [cold_first, size):
	 * so that the hot code of many blocks shares cache lines and pages.
	 */
	size_t size, first, used, cold_first, cold_used;
	size_t huge_end;                    /* hot code up to here lies in large pages of the host */
	uint32_t stub_exit, stub_ijmp, stub_cold, stub_gate, stub_leave;
	void (*enter_jc[BT_NR_BANKS])(struct bt_vcpu *bv);
	void (*enter_direct)(struct bt_vcpu *bv);

	struct bt_block *block; uint32_t nr_blocks, max_blocks;
	struct bt_exit *exit; uint32_t nr_exits, max_exits;
	struct bt_site *site; uint32_t nr_sites, max_sites;
	struct bt_page *page; uint32_t nr_pages;
	struct bt_irec *irec; uint32_t nr_irecs, max_irecs;
	struct bt_page **page_hash;         /* BT_HASH entries each */
	struct bt_block **block_hash;
	struct bt_page **frame_pages;       /* per frame */

	/*
	 * Counts, for the frames of a hash, how often one ceased to hold code.  Changed under the lock.  While it stands
	 * still a frame claimed for code has stayed so, and nobody has got a write tag for it.
	 */
	atomic_uint code_gone[256];

	pthread_mutex_t stop_lock;          /* one full flush, or one split lock, at a time; waited for with bt_serve() only */
	atomic_bool stopping;               /* vCPUs stay out of translated code */
	atomic_bool splitting;              /* and out of the emulator */
	uint64_t flushes;
	uint8_t no_group[4096];             /* by bt_no_group_index(): blocks whose groups crossed pages */
	uint8_t no_peek[4096];              /* likewise: that left out flags which another page's code takes for live */
	atomic_bool ts_checks;              /* the guest has used CR0.TS: blocks with FPU instructions look at it */
	bool ahead;                         /* bt_code_make() translates: no page tables to look at, no state of the guest's; under the lock */
	bool trace_stat, trace_exec, trace_blocks, trace_emulate, use_pext;
};

#define BT_HASH 65536U

static inline atomic_uint *bt_code_gone(struct bt_domain *bt, uint64_t frame) { return &bt->code_gone[frame & 255]; }
static inline unsigned bt_no_group_index(uint64_t va) { return (unsigned)(va ^ va >> 12) & 4095; }

/* Is user code at va relative? */
static inline bool bt_is_rel(int bank, uint64_t va) { return bank == BT_USER && va >= BT_REL_FIRST && va < BT_REL_END; }
static inline bool bt_is_template(uint64_t va) { return va >= BT_TEMPLATE_FIRST && va < BT_TEMPLATE_END; }

/* The guest's address of what lies at va in the addresses of b's page, where b runs. */
static inline uint64_t bt_guest_va(const struct bt_vcpu *bv, bool rel, uint64_t va) { return rel ? va + bv->delta : va; }

static inline struct bt_vcpu *bt_of(struct vcpu *v) { return v->engine_private; }

/* The same of one that has not been set up (engine_ops.vcpu_init). */
static inline struct bt_vcpu *bt_around(struct vcpu *v)
{
	return (struct bt_vcpu *)(void *)((uint8_t *)v - offsetof(struct bt_vcpu, v));
}
static inline uint64_t bt_host(const struct bt_domain *bt, uint32_t off) { return (uint64_t)(uintptr_t)bt->rx + off; }

/* bt_stubs.c: fills the cache's start. */
void bt_stubs_emit(struct bt_domain *bt);
struct emit;
void bt_emit_jump_cache(struct emit *e, int bank);

/*
 * bt_xlat.c: translate the block at va of pg's addresses, which is va + delta to the guest, for v's mode, whose page is `code` (4096
 * bytes) and, for a first instruction that straddles, whose next page is `next`.  NULL when a straddling first instruction
 * needs `next` and it is NULL: *need_next is set; and of what cannot be made ahead.
 * With the lock; there is room (bt_room).  Context full (it runs Zydis).
 */
struct bt_block *bt_translate(struct vcpu *v, struct bt_page *pg, struct bt_page *pg2, uint64_t va, uint64_t delta,
			      const uint8_t *code, const uint8_t *next, bool *need_next);
/* Emit the bounce thunk of a site.  With the lock.  Context full. */
void bt_thunk_emit(struct bt_domain *bt, struct bt_site *s, const uint8_t *bytes, size_t n, uint64_t va);

/* bt_ahead.c: engine.h's code_watch, code_list, code_make */
void bt_code_watch(struct domain *d);
struct buf;
int bt_code_list(struct domain *d, struct buf *out);
int bt_code_make(struct domain *d, const void *list, size_t bytes, bool (*go_on)(void *arg), void *arg, unsigned *ret_blocks);

/* bt_cache.c */
void bt_page_prove(struct bt_domain *bt, struct bt_page *pg);   /* before a vCPU enters anything of it; with the lock */
uint64_t bt_page_sum(const uint8_t *page);           /* of its 4096 bytes */
bool bt_room(const struct bt_domain *bt);
void bt_cache_grown(struct bt_domain *bt);           /* with the lock, after a translation */
/*
 * The page for code at guest address va of v's mode, or NULL.  Of relative ones that of template address `want`, or with BT_ANYWHERE
 * one that the vCPU knows at va, else one that it knows nowhere, else, where there are BT_TWINS, any.  With the lock.
 */
struct bt_page *bt_page_pick(const struct bt_vcpu *bv, uint64_t va, uint64_t frame, uint64_t want);
struct bt_page *bt_page_find(struct bt_domain *bt, uint64_t va, uint64_t frame, int bank, bool rel);
struct bt_page *bt_page_get(struct bt_domain *bt, uint64_t va, uint64_t frame, int bank, bool rel);
struct bt_block *bt_block_find(struct bt_domain *bt, const struct bt_page *pg, uint64_t va);
void bt_block_publish(struct bt_domain *bt, struct bt_block *b);
void bt_block_kill(struct bt_domain *bt, struct bt_block *b);
void bt_link(struct bt_domain *bt, struct bt_exit *x, struct bt_block *to);
struct bt_block *bt_block_at_host(struct bt_domain *bt, uint32_t off);
void bt_cache_reset(struct bt_domain *bt);
void bt_cache_release(struct bt_domain *bt);         /* after a reset: the memory goes back to the host */
int bt_cache_init(struct bt_domain *bt, size_t bytes);
void bt_cache_fini(struct bt_domain *bt);

/* The status flags, between where translated code has them and where everybody else looks for them. */
static inline void bt_flags_in(struct bt_vcpu *bv) { bv->fl = bt_rflags_to_fl(bv->v.regs.rflags); }

static inline void bt_flags_out(struct bt_vcpu *bv)
{
	bv->v.regs.rflags = (bv->v.regs.rflags & ~BT_RFLAGS_STATUS) | bt_fl_to_rflags(bv->fl);
}

/* Must the emulator take the guest instruction by instruction?  TF, DF; 32-bit code; breakpoints. */
static inline bool bt_is_stepped(const struct vcpu *v)
{
	return (v->regs.rflags & 0x500) || v->regs.code32 || (v->dr[7] & 0xff);
}

/* bt_run.c (fast) */
#define BT_NO_EXIT 0xffffffffU
enum engine_exit bt_run(struct vcpu *v);
int bt_cold(struct bt_vcpu *bv);
void bt_recover(struct bt_vcpu *bv, const uint64_t *regs, uint16_t fl, uint16_t mask, bool fl_slot, uint64_t rip);
void bt_serve(struct bt_vcpu *bv);
void bt_vec_save(struct bt_vcpu *bv);
void bt_vec_load(struct bt_vcpu *bv);
int bt_step(struct bt_vcpu *bv);
void bt_page_validate(struct bt_vcpu *bv, const struct bt_page *pg, uint64_t delta);
void bt_pages_forget(struct bt_vcpu *bv, int log);
void bt_jc_set(struct bt_vcpu *bv, const struct bt_block *b, uint64_t va);

/*
 * bt_gate.c (fast).  Called by stub_gate at a `syscall`, the guest's state in memory: the bank (enum bt_bank) of the mode that it goes on
 * in, at v.regs.rip; or leave through exit_id.
 */
#define BT_GATE_LEAVE BT_NR_BANKS
int bt_gate(struct bt_vcpu *bv);

/* bt_quick.c (fast): what would go to the emulator but needs neither its decoder nor the full context.  As bt_string(). */
int bt_quick(struct bt_vcpu *bv, const uint8_t *code, size_t n);

/* bt_slow.c (fast): accesses that cross pages or may not have a write tag; rep movs and stos */
int bt_slow_access(struct bt_vcpu *bv);
int bt_string(struct bt_vcpu *bv, const uint8_t *code, size_t n);

/* The scratch register of a thunk. */
unsigned bt_thunk_scratch(const struct bt_domain *bt, uint32_t thunk);

/* bt_find.c (full): translate what bt_run.c did not find; want as for bt_page_pick().  0, or -1 with v->exc filled. */
int bt_make(struct bt_vcpu *bv, uint64_t va, uint64_t want);
int bt_thunk_make(struct bt_vcpu *bv);
void bt_trace(struct bt_vcpu *bv);

/* bt_signal.c */
int bt_signals_install(void);
int bt_signals_thread(struct bt_vcpu *bv);
void bt_attention(struct bt_vcpu *bv);

/* bt_shoot.c (fast) */
void bt_full_context(struct vcpu *v);
void bt_tlb_shootdown(struct vcpu *self, uint64_t mask, uint64_t va, bool all);
void bt_cr3_changed(struct vcpu *v, bool kernel);
void bt_mode_changed(struct vcpu *v);
void bt_request(struct domain *d, struct vcpu *self, uint64_t mask, uint32_t req, uint64_t va);

/* bt_engine.c */
void bt_world_flush(struct bt_vcpu *bv);

#endif
