/* SPDX-License-Identifier: GPL-2.0-or-later */
/* core_dump.c - see core_dump.h. */
#include "hypervisor/core_dump.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <unistd.h>
#include <xen/elfnote.h>
#include <xen/version.h>

#include "lib/zero_page.h"

#define DUMP_MAGIC_PV 0xf00febedUL     /* XC_CORE_MAGIC */
#define DUMP_FORMAT 1UL                /* major 0, minor 1 */
#define PAGES_A_WRITE 256UL
#define EXTRA_PAGES 2048UL             /* the slack in the guest's memory map (memory_op.c): numbers for frames not its own */
#define NO_FRAME (~0UL)

enum { SEC_NULL, SEC_STRTAB, SEC_NOTE, SEC_CORE, SEC_PRSTATUS, SEC_SHARED_INFO, SEC_P2M, SEC_PAGES, SEC_NR };

static const struct { const char *name; uint32_t type; uint64_t entsize, align; } sections[SEC_NR] = {
	[SEC_NULL] = { "", SHT_NULL, 0, 0 },
	[SEC_STRTAB] = { ".shstrtab", SHT_STRTAB, 0, 0 },
	[SEC_NOTE] = { ".note.Xen", SHT_NOTE, 0, 8 },
	[SEC_CORE] = { ".note.CORE", SHT_NOTE, 0, 8 },        /* directly behind: one segment holds both */
	[SEC_PRSTATUS] = { ".xen_prstatus", SHT_PROGBITS, sizeof(struct vcpu_guest_context), 8 },
	[SEC_SHARED_INFO] = { ".xen_shared_info", SHT_PROGBITS, PAGE_SIZE_HV, PAGE_SIZE_HV },
	[SEC_P2M] = { ".xen_p2m", SHT_PROGBITS, 16, 8 },
	[SEC_PAGES] = { ".xen_pages", SHT_PROGBITS, PAGE_SIZE_HV, PAGE_SIZE_HV },
};

struct note { uint32_t namesz, descsz, type; char name[4]; };

struct notes {
	struct note none;
	struct note header; struct { uint64_t magic, nr_vcpus, nr_pages, page_size; } h;
	struct note version;
	struct {
		uint64_t major, minor; char extra[16]; struct xen_compile_info compile; char capabilities[1024], changeset[64];
		uint64_t virt_start, page_size;
	} v;
	struct note format; uint64_t f;
};

_Static_assert(sizeof(struct note) == 16, "a note's header with its name");
_Static_assert(sizeof(struct notes) == 64 + 32 + 1280 + 8, "notes without padding");

/* A vCPU's registers once more, as gdb(1) looks for them. */
struct core_note { uint32_t namesz, descsz, type; char name[8]; uint8_t status[sizeof(struct elf_prstatus)]; };

_Static_assert(sizeof(struct core_note) == 20 + sizeof(struct elf_prstatus), "the body directly behind the name");

struct p2m { uint64_t pfn, gmfn; };

static struct note note_of(uint32_t type, size_t descsz)
{
	return (struct note) { 4, (uint32_t)descsz, type, "Xen" };
}

static void notes_fill(struct notes *n, const struct domain *d, uint64_t nr_pages)
{
	memset(n, 0, sizeof *n);
	n->none = note_of(XEN_ELFNOTE_DUMPCORE_NONE, 0);
	n->header = note_of(XEN_ELFNOTE_DUMPCORE_HEADER, sizeof n->h);
	n->h.magic = DUMP_MAGIC_PV;
	n->h.nr_vcpus = d->nr_vcpus;
	n->h.nr_pages = nr_pages;
	n->h.page_size = PAGE_SIZE_HV;
	n->version = note_of(XEN_ELFNOTE_DUMPCORE_XEN_VERSION, sizeof n->v);
	n->v.major = 4;
	n->v.minor = 17;
	strcpy(n->v.extra, ".0-haven");
	strcpy(n->v.capabilities, "xen-3.0-x86_64");
	n->v.virt_start = 0xffff800000000000UL;
	n->v.page_size = PAGE_SIZE_HV;
	n->format = note_of(XEN_ELFNOTE_DUMPCORE_FORMAT_VERSION, sizeof n->f);
	n->f = DUMP_FORMAT;
}

/* ---- vCPUs ---- */

static void user_regs_fill(struct cpu_user_regs *u, const struct vcpu *v)
{
	const uint64_t *g = v->regs.gpr;

	u->rax = g[REG_RAX]; u->rbx = g[REG_RBX]; u->rcx = g[REG_RCX]; u->rdx = g[REG_RDX];
	u->rsi = g[REG_RSI]; u->rdi = g[REG_RDI]; u->rbp = g[REG_RBP]; u->rsp = g[REG_RSP];
	u->r8 = g[REG_R8]; u->r9 = g[REG_R9]; u->r10 = g[REG_R10]; u->r11 = g[REG_R11];
	u->r12 = g[REG_R12]; u->r13 = g[REG_R13]; u->r14 = g[REG_R14]; u->r15 = g[REG_R15];
	u->rip = v->regs.rip;
	u->rflags = v->regs.rflags;
	u->saved_upcall_mask = vcpu_upcall_mask(v);
	u->cs = v->regs.sel[SEG_CS];
	u->ss = v->regs.sel[SEG_SS];
	u->ds = v->regs.sel[SEG_DS];
	u->es = v->regs.sel[SEG_ES];
	u->fs = v->regs.sel[SEG_FS];
	u->gs = v->regs.sel[SEG_GS];
}

static void prstatus_fill(struct vcpu_guest_context *c, const struct vcpu *v)
{
	bool kernel = v->regs.kernel_mode;

	memset(c, 0, sizeof *c);
	memcpy(c->fpu_ctxt.x, v->xsave, sizeof c->fpu_ctxt.x);
	c->flags = VGCF_I387_VALID | (kernel ? VGCF_IN_KERNEL : 0) |
		   (atomic_load(&v->run_state) != VCPU_DOWN ? VGCF_online : 0) | (v->cb_failsafe_mask ? VGCF_failsafe_disables_events : 0) |
		   (v->cb_syscall_mask ? VGCF_syscall_disables_events : 0);
	user_regs_fill(&c->user_regs, v);
	for (unsigned i = 0; i < 256; i++)
		c->trap_ctxt[i] = (struct trap_info) { (uint8_t)i, (uint8_t)(v->trap[i].dpl | v->trap[i].mask_events << 2), v->trap[i].cs,
						       v->trap[i].address };
	c->ldt_base = v->ldt_base;
	c->ldt_ents = v->ldt_ents;
	for (unsigned i = 0; i < 16; i++)
		c->gdt_frames[i] = v->gdt_mfn[i];
	c->gdt_ents = v->gdt_ents;
	c->kernel_ss = v->kernel_ss;
	c->kernel_sp = v->kernel_sp;
	c->ctrlreg[0] = 0x80050033UL | (v->cr0_ts ? 8 : 0);   /* PG, AM, WP, NE, ET, MP, PE: as a PV guest has it */
	c->ctrlreg[1] = v->cr3_user ? v->cr3_user << PAGE_SHIFT_HV | 1 : 0;
	c->ctrlreg[3] = v->cr3_kernel << PAGE_SHIFT_HV;
	c->ctrlreg[4] = v->cr4;
	memcpy(c->debugreg, v->dr, sizeof c->debugreg);
	c->event_callback_eip = v->cb_event;
	c->failsafe_callback_eip = v->cb_failsafe;
	c->syscall_callback_eip = v->cb_syscall;
	c->vm_assist = v->d->vm_assist;
	c->fs_base = v->regs.fs_base;
	c->gs_base_kernel = kernel ? v->regs.gs_base : v->regs.gs_base_other;
	c->gs_base_user = kernel ? v->regs.gs_base_other : v->regs.gs_base;
}

static void core_note_fill(struct core_note *n, const struct vcpu *v)
{
	struct elf_prstatus st = { .pr_pid = (pid_t)v->id + 1 };
	const uint64_t *g = v->regs.gpr;
	const uint64_t reg[] = {       /* struct user_regs_struct of <sys/user.h> */
		g[REG_R15], g[REG_R14], g[REG_R13], g[REG_R12], g[REG_RBP], g[REG_RBX], g[REG_R11], g[REG_R10], g[REG_R9], g[REG_R8],
		g[REG_RAX], g[REG_RCX], g[REG_RDX], g[REG_RSI], g[REG_RDI], ~0UL, v->regs.rip, v->regs.sel[SEG_CS], v->regs.rflags,
		g[REG_RSP], v->regs.sel[SEG_SS], v->regs.fs_base, v->regs.gs_base, v->regs.sel[SEG_DS], v->regs.sel[SEG_ES],
		v->regs.sel[SEG_FS], v->regs.sel[SEG_GS],
	};

	_Static_assert(sizeof reg == sizeof st.pr_reg, "user_regs_struct");
	memcpy(&st.pr_reg, reg, sizeof reg);
	*n = (struct core_note) { 5, sizeof n->status, NT_PRSTATUS, "CORE", { 0 } };
	memcpy(n->status, &st, sizeof st);
}

/* ---- frames in the order of their guest numbers ---- */

static bool frame_is_held(const struct domain *d, uint64_t mfn) { return d->populated[mfn / 64] >> (mfn % 64) & 1; }

/*
 * What the guest wrote into its machine-to-physical table is its own affair: a number beyond what it was told it has, or one that
 * another frame has already, puts the frame behind all others.  (No qsort: glibc's asks the kernel for the size of memory.)
 */
static uint64_t p2m_fill(const struct domain *d, const uint64_t *m2p, uint64_t *mfn_of, uint64_t limit, struct p2m *p)
{
	uint64_t n = 0;

	for (uint64_t pfn = 0; pfn < limit; pfn++)
		mfn_of[pfn] = NO_FRAME;
	for (uint64_t mfn = 0; mfn < d->max_pages; mfn++)
		if (frame_is_held(d, mfn) && m2p[mfn] < limit && mfn_of[m2p[mfn]] == NO_FRAME)
			mfn_of[m2p[mfn]] = mfn;
	for (uint64_t pfn = 0; pfn < limit; pfn++)
		if (mfn_of[pfn] != NO_FRAME)
			p[n++] = (struct p2m) { pfn, mfn_of[pfn] };
	for (uint64_t mfn = 0; mfn < d->max_pages; mfn++)
		if (frame_is_held(d, mfn) && (m2p[mfn] >= limit || mfn_of[m2p[mfn]] != mfn))
			p[n++] = (struct p2m) { m2p[mfn], mfn };
	return n;
}

/* The table lies in guest memory, so it is read once; vCPUs and devices stand still, but who knows. */
static struct p2m *p2m_make(const struct domain *d, uint64_t *ret_n)
{
	uint64_t held = 0, limit = d->max_pages + EXTRA_PAGES;
	uint64_t *m2p = malloc(d->max_pages * sizeof *m2p), *mfn_of = malloc(limit * sizeof *mfn_of);
	struct p2m *p;

	for (uint64_t mfn = 0; mfn < d->max_pages; mfn++)
		held += frame_is_held(d, mfn);
	p = malloc((held + 1) * sizeof *p);
	if (p && m2p && mfn_of) {
		memcpy(m2p, domain_frame(d, SPECIAL_MFN + SPECIAL_M2P), d->max_pages * sizeof *m2p);
		*ret_n = p2m_fill(d, m2p, mfn_of, limit, p);
	} else {
		free(p);
		p = NULL;
	}
	free(m2p);
	free(mfn_of);
	return p;
}

/* ---- the file ---- */

static int put(int fd, const void *p, size_t n, uint64_t at)
{
	const uint8_t *q = p;

	while (n) {
		ssize_t r = pwrite(fd, q, n, (off_t)at);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return r < 0 ? -errno : -ENOSPC;
		q += r;
		at += (uint64_t)r;
		n -= (size_t)r;
	}
	return 0;
}

static int put_prstatus(const struct domain *d, int fd, uint64_t at)
{
	struct vcpu_guest_context c;
	int rc = 0;

	for (unsigned i = 0; !rc && i < d->nr_vcpus; i++) {
		prstatus_fill(&c, d->vcpu[i]);
		rc = put(fd, &c, sizeof c, at + i * sizeof c);
	}
	return rc;
}

static int put_core_notes(const struct domain *d, int fd, uint64_t at)
{
	struct core_note n;
	int rc = 0;

	for (unsigned i = 0; !rc && i < d->nr_vcpus; i++) {
		core_note_fill(&n, d->vcpu[i]);
		rc = put(fd, &n, sizeof n, at + i * sizeof n);
	}
	return rc;
}

/* Runs of frames that follow each other in memory and hold something, in one write each. */
static int put_pages(const struct domain *d, int fd, const struct p2m *p, uint64_t n, uint64_t at)
{
	uint64_t i = 0;
	int rc = 0;

	while (!rc && i < n) {
		uint64_t k = 0;

		while (i + k < n && k < PAGES_A_WRITE && p[i + k].gmfn == p[i].gmfn + k && !page_is_zero(domain_frame(d, p[i + k].gmfn)))
			k++;
		if (k)
			rc = put(fd, domain_frame(d, p[i].gmfn), k << PAGE_SHIFT_HV, at + (i << PAGE_SHIFT_HV));
		i += k ? k : 1;
	}
	return rc;
}

static uint64_t aligned(uint64_t at, uint64_t align) { return align ? (at + align - 1) & ~(align - 1) : at; }

/* The one program header and the section headers directly behind the ELF header, then the sections in their order; where the file ends. */
static uint64_t layout(Elf64_Shdr sh[SEC_NR], const uint64_t size[SEC_NR])
{
	uint64_t at = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr) + SEC_NR * sizeof(Elf64_Shdr);
	uint32_t name = 0;

	memset(sh, 0, SEC_NR * sizeof *sh);
	for (unsigned i = 0; i < SEC_NR; i++) {
		sh[i].sh_name = name;
		name += (uint32_t)strlen(sections[i].name) + 1;
		if (i == SEC_NULL)
			continue;
		at = aligned(at, sections[i].align);
		sh[i].sh_type = sections[i].type;
		sh[i].sh_offset = at;
		sh[i].sh_size = size[i];
		sh[i].sh_addralign = sections[i].align;
		sh[i].sh_entsize = sections[i].entsize;
		at += size[i];
	}
	return at;
}

static int put_headers(int fd, const Elf64_Shdr sh[SEC_NR])
{
	Elf64_Ehdr e = { .e_type = ET_CORE, .e_machine = EM_X86_64, .e_version = EV_CURRENT, .e_phoff = sizeof e,
			 .e_shoff = sizeof e + sizeof(Elf64_Phdr), .e_ehsize = sizeof e, .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1,
			 .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = SEC_NR, .e_shstrndx = SEC_STRTAB };
	Elf64_Phdr note = { .p_type = PT_NOTE, .p_flags = PF_R, .p_offset = sh[SEC_NOTE].sh_offset, .p_align = 4,
			    .p_filesz = sh[SEC_CORE].sh_offset + sh[SEC_CORE].sh_size - sh[SEC_NOTE].sh_offset };
	char names[256];
	size_t n = 0;
	int rc;

	memcpy(e.e_ident, ELFMAG, SELFMAG);
	e.e_ident[EI_CLASS] = ELFCLASS64;
	e.e_ident[EI_DATA] = ELFDATA2LSB;
	e.e_ident[EI_VERSION] = EV_CURRENT;
	e.e_ident[EI_OSABI] = ELFOSABI_SYSV;
	for (unsigned i = 0; i < SEC_NR; i++) {
		strcpy(names + n, sections[i].name);
		n += strlen(sections[i].name) + 1;
	}
	rc = put(fd, &e, sizeof e, 0);
	if (!rc)
		rc = put(fd, &note, sizeof note, e.e_phoff);
	if (!rc)
		rc = put(fd, sh, SEC_NR * sizeof *sh, e.e_shoff);
	return rc ? rc : put(fd, names, n, sh[SEC_STRTAB].sh_offset);
}

int core_dump_write(const struct domain *d, int fd, struct err *err)
{
	uint64_t size[SEC_NR] = { 0 }, n = 0, end;
	struct p2m *p2m = p2m_make(d, &n);
	struct notes notes;
	Elf64_Shdr sh[SEC_NR];
	int rc;

	if (!p2m)
		return err_set(err, -ENOMEM, "domain %u: no memory for the core's list of pages", d->domid);
	notes_fill(&notes, d, n);
	for (unsigned i = 0; i < SEC_NR; i++)
		size[SEC_STRTAB] += strlen(sections[i].name) + 1;
	size[SEC_NOTE] = sizeof notes;
	size[SEC_CORE] = d->nr_vcpus * sizeof(struct core_note);
	size[SEC_PRSTATUS] = d->nr_vcpus * sizeof(struct vcpu_guest_context);
	size[SEC_SHARED_INFO] = PAGE_SIZE_HV;
	size[SEC_P2M] = n * sizeof *p2m;
	size[SEC_PAGES] = n << PAGE_SHIFT_HV;
	end = layout(sh, size);
	rc = ftruncate(fd, (off_t)end) < 0 ? -errno : 0;
	if (!rc)
		rc = put_headers(fd, sh);
	if (!rc)
		rc = put(fd, &notes, sizeof notes, sh[SEC_NOTE].sh_offset);
	if (!rc)
		rc = put_core_notes(d, fd, sh[SEC_CORE].sh_offset);
	if (!rc)
		rc = put_prstatus(d, fd, sh[SEC_PRSTATUS].sh_offset);
	if (!rc)
		rc = put(fd, domain_frame(d, SPECIAL_MFN + SPECIAL_SHARED_INFO), PAGE_SIZE_HV, sh[SEC_SHARED_INFO].sh_offset);
	if (!rc)
		rc = put(fd, p2m, n * sizeof *p2m, sh[SEC_P2M].sh_offset);
	if (!rc)
		rc = put_pages(d, fd, p2m, n, sh[SEC_PAGES].sh_offset);
	free(p2m);
	return rc ? err_set(err, rc, "domain %u: its core cannot be written: %s", d->domid, strerror(-rc)) : 0;
}
