/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pv_start.c - start of day of a 64-bit PV guest, in the order <xen/xen.h> ("Start-of-day memory layout") asks for:
 *
 *	kernel
 *	ramdisk                 unless the kernel takes it unmapped (MOD_START_PFN)
 *	p2m list                unless the kernel names a place of its own (INIT_P2M)
 *	start_info, xenstore ring, console ring
 *	page tables             L4 first, then L3, L2, L1 of the initial mapping
 *	boot stack
 *	...                     the mapping ends at 4 MiB, with at least 512 KiB left after the stack
 *	ramdisk, p2m list and its page tables where they are not mapped above
 *
 * Guest frame n is machine frame n.  Frame n's address in the initial mapping is virt_base + n * 4096.
 */
#include "hypervisor/build/pv_start.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <xen/grant_table.h>
#include "hypervisor/abi/abi.h"
#include "hypervisor/build/kernel_elf.h"
#include "hypervisor/build/kernel_unpack.h"
#include "hypervisor/build/ram_ready.h"
#include "hypervisor/domain_new.h"
#include "lib/huge.h"

#define PTE_P 0x001UL
#define PTE_RW 0x002UL
#define PTE_U 0x004UL
#define PTE_A 0x020UL
#define PTE_D 0x040UL
#define L1_PROT (PTE_P | PTE_RW | PTE_A)
#define TABLE_PROT (PTE_P | PTE_RW | PTE_A | PTE_D | PTE_U)
#define PTE_ADDR 0x000ffffffffff000UL

#define MAPPING_ALIGN (4UL << 20)
#define MAPPING_SLACK_PAGES 128UL              /* 512 KiB behind the boot stack */
#define MAGIC "xen-3.0-x86_64"

#define FLAT_CS64 0xe033                       /* FLAT_KERNEL_CS, FLAT_KERNEL_SS of <xen/arch-x86/xen-x86_64.h> */
#define FLAT_SS64 0xe02b
#define RFLAGS_START 0x202

/* A run of frames. */
struct run { uint64_t pfn, pages; };

struct layout {
	struct domain *d;
	const struct pv_params *p;
	struct kernel_elf *kernel;             /* filled by kernel_open() */
	const struct kernel_elf *k;            /* the same */
	struct err *err;
	uint64_t next_pfn;                     /* everything below is taken */
	struct run ramdisk, p2m, p2m_tables, tables;
	uint64_t start_info_pfn, store_pfn, console_pfn, stack_pfn;
	uint64_t map_end;                      /* first address not mapped */
	uint64_t l4_pfn, table_next;           /* next unused frame of the run being filled */
	struct ram_ready *ready;
	uint8_t *room;                         /* where the kernel is unpacked to, in guest memory */
};

static uint64_t pages_of(uint64_t bytes)
{
	return (bytes + PAGE_SIZE_HV - 1) / PAGE_SIZE_HV;
}

static uint64_t va_of(const struct layout *l, uint64_t pfn)
{
	return l->k->virt_base + pfn * PAGE_SIZE_HV;
}

static int no_room(struct layout *l, const char *what, uint64_t need)
{
	return err_set(l->err, -ENOMEM, "memory of %llu MiB is too little: kernel %s and what it needs to start (%s) take %llu MiB; "
		       "raise memory=", (unsigned long long)l->p->nr_pages >> 8, l->p->kernel_name, what,
		       (unsigned long long)((l->next_pfn + need) >> 8) + 1);
}

static int run_alloc(struct layout *l, const char *what, uint64_t pages, struct run *ret)
{
	if (pages > l->p->nr_pages || l->next_pfn > l->p->nr_pages - pages)
		return no_room(l, what, pages);
	*ret = (struct run) { l->next_pfn, pages };
	l->next_pfn += pages;
	return 0;
}

static int page_alloc(struct layout *l, const char *what, uint64_t *ret_pfn)
{
	struct run r = { 0 };
	int rc = run_alloc(l, what, 1, &r);

	if (!rc)
		*ret_pfn = r.pfn;
	return rc;
}

/* Tables of levels 1 to 3 that cover [from, to), to > from; the L4 is not counted. */
static uint64_t tables_needed(uint64_t from, uint64_t to)
{
	uint64_t n = 0;

	for (unsigned shift = 21; shift <= 39; shift += 9)
		n += ((to - 1) >> shift) - (from >> shift) + 1;
	return n;
}

static int tables_alloc(struct layout *l)
{
	uint64_t extra = 1 + MAPPING_SLACK_PAGES;
	uint64_t pages = extra, tables;
	uint64_t space = l->k->virt_base >> 63 ? -l->k->virt_base : 1UL << 47;
	uint64_t limit = space > 2 * MAPPING_ALIGN ? space - 2 * MAPPING_ALIGN : 0;

	for (;;) {
		if ((l->next_pfn + pages) * PAGE_SIZE_HV > limit)
			return no_room(l, "its initial mapping ends past the address space", pages);
		l->map_end = (va_of(l, l->next_pfn + pages) + MAPPING_ALIGN - 1) & ~(MAPPING_ALIGN - 1);
		tables = tables_needed(l->k->virt_base, l->map_end) + 1;
		if (pages >= tables + extra)
			break;
		pages = tables + extra;
	}
	return run_alloc(l, "page tables", tables, &l->tables);
}

static int ramdisk_alloc(struct layout *l)
{
	return l->p->ramdisk_len ? run_alloc(l, "ramdisk", pages_of(l->p->ramdisk_len), &l->ramdisk) : 0;
}

static int p2m_alloc(struct layout *l)
{
	return run_alloc(l, "p2m list", pages_of(l->p->nr_pages * 8), &l->p2m);
}

static int p2m_outside_alloc(struct layout *l)
{
	int rc = p2m_alloc(l);

	if (rc)
		return rc;
	return run_alloc(l, "p2m page tables",
			 tables_needed(l->k->init_p2m, l->k->init_p2m + l->p2m.pages * PAGE_SIZE_HV), &l->p2m_tables);
}

/* The addresses the kernel asks for must leave room for the layout and stay canonical and out of the hypervisor's slots. */
static int addresses_check(struct layout *l)
{
	uint64_t base = l->k->virt_base, room = l->p->nr_pages * PAGE_SIZE_HV + (8UL << 20);
	uint64_t p2m = l->k->init_p2m, p2m_room = (l->p->nr_pages * 8 + PAGE_SIZE_HV) & ~0xfffUL;
	bool low = base < 1UL << 47 && base + room < 1UL << 47;
	bool high = base >= 0xffff880000000000UL;

	if (!low && !high)
		return err_set(l->err, -EINVAL, "%s: asks to be mapped at %#llx, which a PV guest cannot be", l->p->kernel_name,
			       (unsigned long long)base);
	if (l->k->gpa_end > (high ? -base : 1UL << 47))
		return err_set(l->err, -EINVAL, "%s: does not fit between %#llx, where it asks to be mapped, and the end of the "
			       "address space", l->p->kernel_name, (unsigned long long)base);
	if (p2m == NOTE_UNSET)
		return 0;
	if (p2m > (1UL << 47) - p2m_room && (p2m < 0xffff880000000000UL || p2m > -p2m_room))
		return err_set(l->err, -EINVAL, "%s: asks for its p2m list at %#llx, which a PV guest cannot have",
			       l->p->kernel_name, (unsigned long long)p2m);
	if (p2m >> 39 == base >> 39 || (low && p2m < base + room && base < p2m + p2m_room))
		return err_set(l->err, -EINVAL, "%s: asks for its p2m list inside its own mapping", l->p->kernel_name);
	return 0;
}

static int layout_make(struct layout *l)
{
	bool unmapped_ramdisk = l->k->mod_start_pfn, own_p2m = l->k->init_p2m != NOTE_UNSET;
	uint64_t end;
	int rc = addresses_check(l);

	if (rc)
		return rc;
	l->next_pfn = pages_of(l->k->gpa_end);
	if (l->next_pfn > l->p->nr_pages)
		return no_room(l, "the kernel itself", 0);
	if (!unmapped_ramdisk)
		rc = ramdisk_alloc(l);
	if (!rc && !own_p2m)
		rc = p2m_alloc(l);
	if (!rc)
		rc = page_alloc(l, "start info", &l->start_info_pfn);
	if (!rc)
		rc = page_alloc(l, "store ring", &l->store_pfn);
	if (!rc)
		rc = page_alloc(l, "console ring", &l->console_pfn);
	if (!rc)
		rc = tables_alloc(l);
	if (!rc)
		rc = page_alloc(l, "boot stack", &l->stack_pfn);
	if (rc)
		return rc;
	end = (l->map_end - l->k->virt_base) / PAGE_SIZE_HV;
	if (l->next_pfn < end)
		l->next_pfn = end;             /* what follows is not in the initial mapping */
	if (unmapped_ramdisk)
		rc = ramdisk_alloc(l);
	if (!rc && own_p2m)
		rc = p2m_outside_alloc(l);
	return rc;
}

static void *frame_at(const struct layout *l, uint64_t pfn)
{
	return domain_frame(l->d, pfn);
}

static uint64_t table_new(struct layout *l, unsigned level)
{
	uint64_t pfn = l->table_next++;

	l->d->pt_type[pfn] = (uint8_t)level;
	return pfn;
}

/* Levels are made one after the other, so that tables lie L4, L3, L2, L1 as Xen's builder lays them. */
static void tables_link(struct layout *l, unsigned level, uint64_t from, uint64_t to)
{
	unsigned shift = 12 + 9 * level;       /* a table of `level` covers 1 << shift bytes */

	for (uint64_t i = from >> shift; i <= (to - 1) >> shift; i++) {
		uint64_t *t = frame_at(l, l->l4_pfn);

		for (unsigned up = 4; up > level + 1; up--)
			t = frame_at(l, (t[(i << shift) >> (12 + 9 * (up - 1)) & 511] & PTE_ADDR) >> 12);
		t[(i << shift) >> (12 + 9 * level) & 511] = table_new(l, level) << 12 | TABLE_PROT;
	}
}

static void page_map(struct layout *l, uint64_t va, uint64_t pte)
{
	uint64_t *t = frame_at(l, l->l4_pfn);

	for (unsigned up = 4; up > 1; up--)
		t = frame_at(l, (t[va >> (12 + 9 * (up - 1)) & 511] & PTE_ADDR) >> 12);
	t[va >> 12 & 511] = pte;
}

static void mapping_fill(struct layout *l)
{
	uint64_t pages = (l->map_end - l->k->virt_base) / PAGE_SIZE_HV;

	l->table_next = l->tables.pfn;
	l->l4_pfn = table_new(l, 4);
	for (unsigned level = 3; level >= 1; level--)
		tables_link(l, level, l->k->virt_base, l->map_end);
	for (uint64_t pfn = 0; pfn < pages && pfn < l->p->nr_pages; pfn++)
		page_map(l, va_of(l, pfn), pfn << 12 | (l->d->pt_type[pfn] ? L1_PROT & ~PTE_RW : L1_PROT));
}

static void p2m_fill(struct layout *l)
{
	uint64_t *p2m = frame_at(l, l->p2m.pfn);

	for (uint64_t i = 0; i < l->p->nr_pages; i++)
		p2m[i] = i;
	for (uint64_t i = l->p->nr_pages; i < l->p2m.pages * (PAGE_SIZE_HV / 8); i++)
		p2m[i] = UINT64_MAX;
	if (!l->p2m_tables.pages)
		return;
	l->table_next = l->p2m_tables.pfn;
	for (unsigned level = 3; level >= 1; level--)
		tables_link(l, level, l->k->init_p2m, l->k->init_p2m + l->p2m.pages * PAGE_SIZE_HV);
	for (uint64_t i = 0; i < l->p2m.pages; i++)
		page_map(l, l->k->init_p2m + i * PAGE_SIZE_HV, (l->p2m.pfn + i) << 12 | L1_PROT);
}

/* --- the kernel in its place ------------------------------------------------------------------------------------------------ */

static bool image_in_ram(const struct layout *l, const struct kernel_image *image)
{
	return image->elf >= l->d->ram && image->elf < l->d->ram + (l->p->nr_pages << PAGE_SHIFT_HV);
}

/* One after the other into its place, no segment covers another that is still to be moved. */
static bool segments_move_freely(const struct layout *l, uint64_t image_gpa)
{
	const struct kernel_segment *s = l->k->seg;

	for (unsigned i = 0; i < l->k->nr_segs; i++)
		for (unsigned j = i + 1; j < l->k->nr_segs; j++) {
			uint64_t from = image_gpa + s[j].file_off;

			if (s[i].gpa < from + s[j].file_len && from < s[i].gpa + s[i].mem_len)
				return false;
		}
	return true;
}

/* Of [at, end) what no segment covers. */
static void clear_between_segments(struct layout *l, uint64_t at, uint64_t end)
{
	while (at < end) {
		uint64_t next = end;
		bool covered = false;

		for (unsigned i = 0; i < l->k->nr_segs && !covered; i++) {
			const struct kernel_segment *s = &l->k->seg[i];

			covered = s->gpa <= at && at < s->gpa + s->mem_len;
			if (covered)
				next = s->gpa + s->mem_len;
			else if (s->gpa > at && s->gpa < next)
				next = s->gpa;
		}
		if (!covered)
			memset(l->d->ram + at, 0, next - at);
		at = next;
	}
}

/* The image was unpacked to where it lies in guest memory: its segments move to their places, the rest of it goes. */
static void kernel_move(struct layout *l, const struct kernel_image *image)
{
	uint64_t gpa = (uint64_t)(image->elf - l->d->ram);

	for (unsigned i = 0; i < l->k->nr_segs; i++) {
		const struct kernel_segment *s = &l->k->seg[i];

		if (s->gpa != gpa + s->file_off)
			memmove(l->d->ram + s->gpa, image->elf + s->file_off, s->file_len);
		memset(l->d->ram + s->gpa + s->file_len, 0, s->mem_len - s->file_len);
	}
	clear_between_segments(l, gpa, gpa + image->touched);
}

/* Guest memory as it was before the image was unpacked there, and the image in memory of its own. */
static int image_take_out(struct layout *l, struct kernel_image *image)
{
	uint8_t *in_ram = (uint8_t *)(uintptr_t)image->elf, *copy = huge_alloc(image->elf_len);
	size_t touched = image->touched;

	if (!copy)
		return err_set(l->err, -ENOMEM, "%s: no memory to unpack the kernel", l->p->kernel_name);
	memcpy(copy, in_ram, image->elf_len);
	memset(in_ram, 0, touched);
	*image = (struct kernel_image) { .elf = copy, .elf_len = image->elf_len, .map = copy, .map_len = image->elf_len };
	return 0;
}

static void room_need(void *arg, size_t upto)
{
	const struct layout *l = arg;

	ram_ready_need(l->ready, l->room + upto);
}

static void room_each(void *arg, unsigned n, void (*fn)(void *job, unsigned i), void *job)
{
	const struct layout *l = arg;

	ram_ready_each(l->ready, n, fn, job);
}

/* To where most of it belongs, if the file says where and the guest's memory holds it as it lies in the file; else beside it. */
static int kernel_open_packed(struct layout *l, struct kernel_image *image)
{
	uint64_t ram = l->p->nr_pages << PAGE_SHIFT_HV, gpa, end;
	struct kernel_room room = { .need = room_need, .each = room_each, .arg = l };
	int rc = -E2BIG;

	if (kernel_place(l->p->kernel, l->p->kernel_len, &gpa, &end) && gpa < ram) {
		room.p = l->room = l->d->ram + gpa;
		room.max = ram - gpa < KERNEL_UNPACKED_MAX ? ram - gpa : KERNEL_UNPACKED_MAX;
		rc = kernel_unpack_into(l->p->kernel_name, l->p->kernel, l->p->kernel_len, &room, image, l->err);
		if (rc == -E2BIG)
			memset(room.p, 0, image->touched);
	}
	if (rc == -E2BIG)
		rc = kernel_unpack(l->p->kernel_name, l->p->kernel, l->p->kernel_len, KERNEL_UNPACKED_MAX, image, l->err);
	return rc;
}

static int kernel_open(struct layout *l, struct kernel_image *image)
{
	int rc = kernel_open_packed(l, image);

	if (!rc)
		rc = kernel_elf_parse(l->p->kernel_name, image->elf, image->elf_len, l->kernel, l->err);
	if (rc || !image_in_ram(l, image) || segments_move_freely(l, (uint64_t)(image->elf - l->d->ram)))
		return rc;
	rc = image_take_out(l, image);
	l->kernel->p = image->elf;
	return rc;
}

/* Segments were checked against the file by kernel_elf_parse and lie below gpa_end, which layout_make checked. */
static void kernel_copy(struct layout *l)
{
	for (unsigned i = 0; i < l->k->nr_segs; i++) {
		const struct kernel_segment *s = &l->k->seg[i];

		memcpy(l->d->ram + s->gpa, l->k->p + s->file_off, s->file_len);
		memset(l->d->ram + s->gpa + s->file_len, 0, s->mem_len - s->file_len);
	}
}

/*
 * 128 stubs of 32 bytes, one a hypercall.  iret (23) does not return, and finds rax, r11 and rcx on the stack
 * (struct iret_context).
 */
static int hypercall_page_fill(struct layout *l)
{
	static const uint8_t call[] = { 0x51, 0x41, 0x53, 0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3 };
	static const uint8_t iret[] = { 0x51, 0x41, 0x53, 0x50, 0xb8, __HYPERVISOR_iret, 0, 0, 0, 0x0f, 0x05 };
	uint64_t off = l->k->hypercall_page - l->k->virt_base;
	uint8_t *page;

	if (l->k->hypercall_page == NOTE_UNSET)
		return 0;
	if (l->k->hypercall_page < l->k->virt_base || off & 0xfff || off >= l->k->gpa_end)
		return err_set(l->err, -EINVAL, "%s: its hypercall page %#llx lies outside the kernel; the file is damaged",
			       l->p->kernel_name, (unsigned long long)l->k->hypercall_page);
	page = frame_at(l, off >> 12);
	memset(page, 0xcc, PAGE_SIZE_HV);
	for (unsigned i = 0; i < PAGE_SIZE_HV / 32; i++) {
		memcpy(page + i * 32, call, sizeof call);
		page[i * 32 + 4] = (uint8_t)i;
	}
	memset(page + __HYPERVISOR_iret * 32, 0xcc, 32);
	memcpy(page + __HYPERVISOR_iret * 32, iret, sizeof iret);
	return 0;
}

static void start_info_fill(struct layout *l)
{
	struct start_info *si = frame_at(l, l->start_info_pfn);
	bool own_p2m = l->k->init_p2m != NOTE_UNSET;

	memcpy(si->magic, MAGIC, sizeof MAGIC);
	si->nr_pages = l->p->nr_pages;
	si->shared_info = (SPECIAL_MFN + SPECIAL_SHARED_INFO) << 12;
	si->store_mfn = l->store_pfn;
	si->store_evtchn = l->d->store_port;
	si->console.domU.mfn = l->console_pfn;
	si->console.domU.evtchn = l->d->console_port;
	si->pt_base = va_of(l, l->l4_pfn);
	si->nr_pt_frames = l->tables.pages;
	si->mfn_list = own_p2m ? l->k->init_p2m : va_of(l, l->p2m.pfn);
	if (own_p2m) {
		si->first_p2m_pfn = l->p2m.pfn;
		si->nr_p2m_frames = l->p2m.pages + l->p2m_tables.pages;
	}
	si->flags = SIF_VIRT_P2M_4TOOLS;
	if (l->ramdisk.pages) {
		si->mod_start = l->k->mod_start_pfn ? l->ramdisk.pfn : va_of(l, l->ramdisk.pfn);
		si->mod_len = l->p->ramdisk_len;
		if (l->k->mod_start_pfn)
			si->flags |= SIF_MOD_START_PFN;
	}
	snprintf((char *)si->cmd_line, sizeof si->cmd_line, "%s", l->p->cmdline ? l->p->cmdline : "");
}

static int rings_connect(struct layout *l)
{
	struct domain *d = l->d;
	grant_entry_v1_t *g = domain_frame(d, SPECIAL_MFN + SPECIAL_GRANT);
	int store, console;

	store = evtchn_bind_backend(d);
	console = evtchn_bind_backend(d);
	if (store < 0 || console < 0)
		return err_set(l->err, store < 0 ? store : console, "domain %u: no event channels for its rings", d->domid);
	d->store_port = (uint32_t)store;
	d->console_port = (uint32_t)console;
	d->store_mfn = l->store_pfn;
	d->console_mfn = l->console_pfn;
	g[GNTTAB_RESERVED_CONSOLE] = (grant_entry_v1_t) { GTF_permit_access, 0, (uint32_t)l->console_pfn };
	g[GNTTAB_RESERVED_XENSTORE] = (grant_entry_v1_t) { GTF_permit_access, 0, (uint32_t)l->store_pfn };
	return 0;
}

static void vcpu0_start(struct layout *l)
{
	struct vcpu *v = l->d->vcpu[0];
	struct shared_info *si = domain_frame(l->d, SPECIAL_MFN + SPECIAL_SHARED_INFO);

	for (unsigned i = 0; i < XEN_LEGACY_MAX_VCPUS; i++)
		si->vcpu_info[i].evtchn_upcall_mask = 1;
	v->regs = (struct cpu_regs) { .rip = l->k->entry, .rflags = RFLAGS_START, .kernel_mode = 1 };
	v->regs.gpr[REG_RSI] = va_of(l, l->start_info_pfn);
	v->regs.gpr[REG_RSP] = va_of(l, l->stack_pfn + 1);
	v->regs.sel[SEG_CS] = FLAT_CS64;
	v->regs.sel[SEG_SS] = FLAT_SS64;
	v->kernel_sp = v->regs.gpr[REG_RSP];
	v->kernel_ss = FLAT_SS64;
	v->cr3_kernel = l->l4_pfn;
	v->cr3_user = 0;
	v->initialised = 1;
	atomic_store(&v->run_state, VCPU_RUNNABLE);
}

static int params_check(struct domain *d, const struct pv_params *p, struct err *err)
{
	if (p->nr_pages < DOMAIN_MIN_PAGES || p->nr_pages > d->max_pages)
		return err_set(err, -EINVAL, "memory of %llu MiB is not between %lu MiB and maxmem, %llu MiB",
			       (unsigned long long)p->nr_pages >> 8, DOMAIN_MIN_PAGES >> 8, (unsigned long long)d->max_pages >> 8);
	if (p->cmdline && strlen(p->cmdline) >= MAX_GUEST_CMDLINE)
		return err_set(err, -EINVAL, "kernel command line of %zu bytes: a PV guest takes %d; shorten extra=",
			       strlen(p->cmdline), MAX_GUEST_CMDLINE - 1);
	return 0;
}

/*
 * What the guest starts with is written now, all of it: in large pages, or at least without a trap for each.  A wish: what
 * is not there comes with its fault.
 */
static void ram_prefault(const struct layout *l)
{
	uint64_t bytes = l->next_pfn << PAGE_SHIFT_HV, huge = (bytes + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1), ram = l->p->nr_pages << PAGE_SHIFT_HV;

	ram_ready_end(ram_ready_begin(l->d->ram, huge < ram ? huge : ram));
}

struct ram_ready *pv_ram_begin(struct domain *d, const struct pv_params *p)
{
	uint64_t ram = p->nr_pages << PAGE_SHIFT_HV, begin, end;

	if (p->nr_pages > d->max_pages || !kernel_place(p->kernel, p->kernel_len, &begin, &end))
		return NULL;
	end += p->ramdisk_len + p->nr_pages * 8 + MAPPING_ALIGN;
	end = (end + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
	begin &= ~(HUGE_PAGE - 1);
	if (end > ram)
		end = ram;
	return begin < end ? ram_ready_begin(d->ram + begin, end - begin) : NULL;
}

int pv_build(struct domain *d, const struct pv_params *p, struct err *err)
{
	struct kernel_image image = { 0 };
	struct kernel_elf k;
	struct layout l = { .d = d, .p = p, .kernel = &k, .k = &k, .err = err, .ready = p->ready };
	int rc = params_check(d, p, err);

	if (!rc && !l.ready)
		l.ready = pv_ram_begin(d, p);
	if (!rc)
		rc = kernel_open(&l, &image);
	if (!rc)
		rc = layout_make(&l);
	if (!rc)
		rc = rings_connect(&l);
	if (rc)
		goto out;
	if (!l.ready)
		ram_prefault(&l);
	if (image_in_ram(&l, &image))
		kernel_move(&l, &image);
	else
		kernel_copy(&l);
	rc = hypercall_page_fill(&l);
	if (rc)
		goto out;
	ram_ready_end(l.ready);
	l.ready = NULL;
	if (l.ramdisk.pages)
		memcpy(frame_at(&l, l.ramdisk.pfn), p->ramdisk, p->ramdisk_len);
	domain_populate(d, p->nr_pages);
	mapping_fill(&l);
	p2m_fill(&l);
	domain_fill_m2p(d);
	start_info_fill(&l);
	vcpu0_start(&l);
out:
	ram_ready_end(l.ready);
	kernel_image_free(&image);
	return rc;
}
