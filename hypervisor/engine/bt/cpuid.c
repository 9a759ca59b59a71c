/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cpuid.c - the CPUID policy of PV guests.
 *
 * A feature reaches a guest when it is in the table and the host has it.  The table is what Xen 4.17 offers a 64-bit PV
 * guest (xen/include/public/arch-x86/cpufeatureset.h, annotation A) less what the translator does not run.  Left out on
 * purpose, as far as Xen would show it:
 *   mce mca             no machine checks are delivered
 *   vme pse pse36 pge mtrr pcid smep smap umip pku monitor vmx x2apic tsc_deadline_timer
 *                       not for PV on Xen either
 *   avx512* amx* mpx cet hle rtm xsaves fsgsbase rdpid movdir* waitpkg sse4a xop fma4 tbm
 *                       not translated
 *   erms fsrm           guests would prefer string instructions, which leave translated code
 *   rdtscp              likewise: their clocks use lfence and rdtsc instead
 *   spec_ctrl ibpb ...  the MSRs behind them are the host's
 * arch_capabilities is there to say what guests need not do (privop_msr.c).
 */
#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "hypervisor/engine/bt/cpuid.h"
#include "hypervisor/engine/bt/emulate_fpstate.h"
#include "hypervisor/vcpu.h"

#define XEN_LEAF 0x40000000U
#define XEN_VERSION (4U << 16 | 17)
#define MAX_LEAF 0x16U
#define MAX_EXT_LEAF 0x80000008U
/* Frames beyond RAM lie at 2^39 bytes; a fixed width keeps policies comparable across hosts. */
#define PHYS_BITS 46
#define LINEAR_BITS 48

#define BIT_XSAVE (1U << 26)
#define BIT_OSXSAVE (1U << 27)
#define BIT_AVX (1U << 28)
#define BIT_HTT (1U << 28)
#define BIT_AVX512F (1U << 16)
#define BROADWELL_EP 0x406f1U

static const struct feature {
	const char *name;
	uint8_t word, bit;
	bool always;                      /* the guest has it whatever the host says */
	bool needs_avx;                   /* meaningless unless the host's OS enables AVX state */
} features[] = {
	{ "fpu", CPUID_1_EDX, 0 },
	{ "de", CPUID_1_EDX, 2 },
	{ "tsc", CPUID_1_EDX, 4 },
	{ "msr", CPUID_1_EDX, 5 },
	{ "pae", CPUID_1_EDX, 6 },
	{ "cx8", CPUID_1_EDX, 8 },
	{ "apic", CPUID_1_EDX, 9, .always = true },        /* Linux PV expects one, and reads APIC_BASE */
	{ "sep", CPUID_1_EDX, 11 },
	{ "cmov", CPUID_1_EDX, 15 },
	{ "pat", CPUID_1_EDX, 16 },
	{ "clflush", CPUID_1_EDX, 19 },
	{ "mmx", CPUID_1_EDX, 23 },
	{ "fxsr", CPUID_1_EDX, 24 },
	{ "sse", CPUID_1_EDX, 25 },
	{ "sse2", CPUID_1_EDX, 26 },
	{ "ss", CPUID_1_EDX, 27 },
	{ "pni", CPUID_1_ECX, 0 },
	{ "pclmulqdq", CPUID_1_ECX, 1 },
	{ "ssse3", CPUID_1_ECX, 9 },
	{ "fma", CPUID_1_ECX, 12, .needs_avx = true },
	{ "cx16", CPUID_1_ECX, 13 },
	{ "sse4_1", CPUID_1_ECX, 19 },
	{ "sse4_2", CPUID_1_ECX, 20 },
	{ "movbe", CPUID_1_ECX, 22 },
	{ "popcnt", CPUID_1_ECX, 23 },
	{ "aes", CPUID_1_ECX, 25 },
	{ "xsave", CPUID_1_ECX, 26 },
	{ "avx", CPUID_1_ECX, 28, .needs_avx = true },
	{ "f16c", CPUID_1_ECX, 29, .needs_avx = true },
	{ "rdrand", CPUID_1_ECX, 30 },
	{ "hypervisor", CPUID_1_ECX, 31, .always = true },
	{ "bmi1", CPUID_7_EBX, 3, .needs_avx = true },     /* VEX-encoded, though on general registers */
	{ "avx2", CPUID_7_EBX, 5, .needs_avx = true },
	{ "bmi2", CPUID_7_EBX, 8, .needs_avx = true },
	{ "rdseed", CPUID_7_EBX, 18 },
	{ "adx", CPUID_7_EBX, 19 },
	{ "clflushopt", CPUID_7_EBX, 23 },
	{ "clwb", CPUID_7_EBX, 24 },
	{ "sha_ni", CPUID_7_EBX, 29 },
	{ "gfni", CPUID_7_ECX, 8 },
	{ "vaes", CPUID_7_ECX, 9, .needs_avx = true },
	{ "vpclmulqdq", CPUID_7_ECX, 10, .needs_avx = true },
	{ "serialize", CPUID_7_EDX, 14, .always = true },  /* nothing to do here; spares guests five instructions for it */
	{ "arch_capabilities", CPUID_7_EDX, 29, .always = true },
	{ "avx_vnni", CPUID_71_EAX, 4, .needs_avx = true },
	{ "xsaveopt", CPUID_D1_EAX, 0 },
	{ "xsavec", CPUID_D1_EAX, 1 },
	{ "xgetbv1", CPUID_D1_EAX, 2 },
	{ "syscall", CPUID_E1_EDX, 11, .always = true },   /* AMD and Intel differ outside 64-bit mode */
	{ "nx", CPUID_E1_EDX, 20 },
	{ "lm", CPUID_E1_EDX, 29 },
	{ "lahf_lm", CPUID_E1_ECX, 0 },
	{ "abm", CPUID_E1_ECX, 5 },
	{ "3dnowprefetch", CPUID_E1_ECX, 8 },
	{ "constant_tsc", CPUID_E7_EDX, 8 },               /* invariant TSC */
};

#define NR_FEATURES (sizeof(features) / sizeof(features[0]))

static void host_leaf(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	uint32_t max = __get_cpuid_max(leaf & 0x80000000U, NULL);

	if (leaf > max)
		memset(r, 0, 16);
	else
		__cpuid_count(leaf, sub, r[0], r[1], r[2], r[3]);
}

/* The host's XCR0, 0 when the OS does not use XSAVE. */
static uint64_t host_xcr0(void)
{
	uint32_t r[4], lo, hi;

	host_leaf(1, 0, r);
	if (!(r[2] & BIT_OSXSAVE))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}

/*
 * Family, model and stepping for a guest.  Programs take a model for a list of features: GCC's target_clones and
 * __builtin_cpu_is() (libgcc, cpuinfo) pick code with AVX-512 for a model that has it, whatever the feature bits say.  So an
 * Intel CPU with AVX-512, which guests are not given, passes for the last server that came without, Broadwell-EP; what
 * that lacks in hardware against speculation attacks guests read in IA32_ARCH_CAPABILITIES.
 */
static uint32_t model_for_guests(uint32_t host, uint32_t leaf_7_ebx, const uint32_t vendor[3])
{
	bool intel_6 = vendor[0] == 0x756e6547 && (host >> 8 & 0xf) == 6;

	return intel_6 && (leaf_7_ebx & BIT_AVX512F) ? BROADWELL_EP : host;
}

void cpuid_policy_host(struct cpuid_policy *p)
{
	uint32_t host[CPUID_NR_WORDS], r[4];
	bool avx = (host_xcr0() & XS_ALL) == XS_ALL;

	memset(p, 0, sizeof(*p));
	host_leaf(0, 0, r);
	memcpy(p->vendor, r + 1, sizeof(p->vendor));
	host_leaf(1, 0, r);
	p->model = r[0];
	host[CPUID_1_ECX] = host_xcr0() ? r[2] : r[2] & ~(1U << 26);
	host[CPUID_1_EDX] = r[3];
	host_leaf(7, 0, r);
	p->model = model_for_guests(p->model, r[1], p->vendor);
	host[CPUID_7_EBX] = r[1];
	host[CPUID_7_ECX] = r[2];
	host[CPUID_7_EDX] = r[3];
	host[CPUID_71_EAX] = 0;
	if (r[0] >= 1) {
		host_leaf(7, 1, r);
		host[CPUID_71_EAX] = r[0];
	}
	host_leaf(0xd, 1, r);
	host[CPUID_D1_EAX] = host_xcr0() ? r[0] : 0;
	host_leaf(0x80000001, 0, r);
	host[CPUID_E1_ECX] = r[2];
	host[CPUID_E1_EDX] = r[3];
	host_leaf(0x80000007, 0, r);
	host[CPUID_E7_EDX] = r[3];
	for (unsigned i = 0; i < 3; i++)
		host_leaf(0x80000002 + i, 0, &p->brand[4 * i]);
	p->phys_bits = PHYS_BITS;

	for (size_t i = 0; i < NR_FEATURES; i++) {
		const struct feature *f = &features[i];

		if (f->always || ((host[f->word] >> f->bit & 1) && (avx || !f->needs_avx)))
			p->word[f->word] |= 1U << f->bit;
	}
}

static bool has(const struct cpuid_policy *p, const struct feature *f) { return p->word[f->word] >> f->bit & 1; }

size_t cpuid_policy_features(const struct cpuid_policy *p, const char **names, size_t n)
{
	size_t found = 0;

	for (size_t i = 0; i < NR_FEATURES; i++)
		if (has(p, &features[i])) {
			if (found < n)
				names[found] = features[i].name;
			found++;
		}
	return found;
}

int cpuid_policy_set_feature(struct cpuid_policy *p, const char *name, bool on)
{
	for (size_t i = 0; i < NR_FEATURES; i++)
		if (!strcmp(features[i].name, name)) {
			if (on)
				p->word[features[i].word] |= 1U << features[i].bit;
			else
				p->word[features[i].word] &= ~(1U << features[i].bit);
			return 0;
		}
	return -ENOENT;
}

int cpuid_policy_min(const struct cpuid_policy *a, const struct cpuid_policy *b, struct cpuid_policy *out)
{
	struct cpuid_policy r = *a;

	if (memcmp(a->vendor, b->vendor, sizeof(a->vendor)))
		return -EINVAL;
	for (unsigned i = 0; i < CPUID_NR_WORDS; i++)
		r.word[i] &= b->word[i];
	if (b->phys_bits < r.phys_bits)
		r.phys_bits = b->phys_bits;
	*out = r;
	return 0;
}

const char *cpuid_policy_missing(const struct cpuid_policy *guest, const struct cpuid_policy *host)
{
	for (size_t i = 0; i < NR_FEATURES; i++)
		if (has(guest, &features[i]) && !has(host, &features[i]))
			return features[i].name;
	return NULL;
}

/* What cannot be used without XSAVE, or without AVX's state, goes with them. */
static void drop_dependents(struct cpuid_policy *p)
{
	if (!(p->word[CPUID_1_ECX] & BIT_XSAVE)) {
		p->word[CPUID_1_ECX] &= ~BIT_AVX;
		p->word[CPUID_D1_EAX] = 0;
	}
	if (!(p->word[CPUID_1_ECX] & BIT_AVX))
		for (size_t i = 0; i < NR_FEATURES; i++)
			if (features[i].needs_avx)
				p->word[features[i].word] &= ~(1U << features[i].bit);
}

void cpuid_policy_settle(struct cpuid_policy *p)
{
	for (size_t i = 0; i < NR_FEATURES; i++)
		if (features[i].always)
			p->word[features[i].word] |= 1U << features[i].bit;
	drop_dependents(p);
}

void cpuid_policy_edit(struct cpuid_policy *p, uint32_t leaf, uint32_t sub, unsigned reg, uint32_t clear, uint32_t set)
{
	static const struct { uint32_t leaf, sub; unsigned reg; } place[CPUID_NR_WORDS] = {
		[CPUID_1_EDX] = { 1, 0, 3 }, [CPUID_1_ECX] = { 1, 0, 2 }, [CPUID_7_EBX] = { 7, 0, 1 }, [CPUID_7_ECX] = { 7, 0, 2 },
		[CPUID_7_EDX] = { 7, 0, 3 }, [CPUID_71_EAX] = { 7, 1, 0 }, [CPUID_D1_EAX] = { 0xd, 1, 0 },
		[CPUID_E1_EDX] = { 0x80000001, 0, 3 }, [CPUID_E1_ECX] = { 0x80000001, 0, 2 }, [CPUID_E7_EDX] = { 0x80000007, 0, 3 },
	};

	if (leaf == 1 && reg == 0)
		p->model = (p->model & ~clear) | set;
	for (unsigned i = 0; i < CPUID_NR_WORDS; i++)
		if (place[i].leaf == leaf && place[i].sub == sub && place[i].reg == reg)
			p->word[i] &= ~clear;
	drop_dependents(p);
}

/* ---- bytes ---- */

_Static_assert(sizeof(struct cpuid_policy) == CPUID_POLICY_BYTES, "a policy is 32-bit words and nothing else");

void cpuid_policy_pack(const struct cpuid_policy *p, uint8_t out[CPUID_POLICY_BYTES])
{
	memcpy(out, p, CPUID_POLICY_BYTES);
}

int cpuid_policy_unpack(struct cpuid_policy *p, const uint8_t *in, size_t n)
{
	uint32_t known[CPUID_NR_WORDS] = { 0 };

	if (n != CPUID_POLICY_BYTES)
		return -EINVAL;
	memcpy(p, in, n);
	/* bits the table does not know cannot be promised */
	for (size_t i = 0; i < NR_FEATURES; i++)
		known[features[i].word] |= 1U << features[i].bit;
	for (unsigned i = 0; i < CPUID_NR_WORDS; i++)
		p->word[i] &= known[i];
	if (p->phys_bits < 32 || p->phys_bits > 52)
		p->phys_bits = PHYS_BITS;
	return 0;
}

/* ---- the guest's policy ---- */

static struct cpuid_policy used, host_policy;
static bool used_set;
static pthread_once_t host_once = PTHREAD_ONCE_INIT;

static void host_policy_make(void) { cpuid_policy_host(&host_policy); }

void cpuid_policy_use(const struct cpuid_policy *p)
{
	used = *p;
	__atomic_store_n(&used_set, true, __ATOMIC_RELEASE);
}

const struct cpuid_policy *cpuid_policy_used(void)
{
	if (__atomic_load_n(&used_set, __ATOMIC_ACQUIRE))
		return &used;
	pthread_once(&host_once, host_policy_make);
	return &host_policy;
}

/* ---- leaves ---- */

static unsigned log2_up(unsigned n)
{
	unsigned bits = 0;

	while (1U << bits < n)
		bits++;
	return bits;
}

static void leaf_1(const struct vcpu *v, const struct cpuid_policy *p, uint32_t r[4])
{
	unsigned logical = 1U << log2_up(v->d->nr_vcpus);

	r[0] = p->model;
	r[1] = v->id << 24 | logical << 16 | 8 << 8;        /* APIC id, logical CPUs, CLFLUSH line of 64 bytes */
	r[2] = p->word[CPUID_1_ECX];
	r[3] = p->word[CPUID_1_EDX];
	/*
	 * OSXSAVE is Xen's own, set before the guest touches CR4: Linux PV takes its absence for "no XSAVE at all"
	 * (arch/x86/xen/enlighten_pv.c), and Xen has kept it so (xen/arch/x86/cpuid.c).
	 */
	if (r[2] & 1U << 26)
		r[2] |= BIT_OSXSAVE;
	if (logical > 1)
		r[3] |= BIT_HTT;
}

/* Caches are the host's; every vCPU is a core of one package and has its own L1 and L2. */
static void leaf_4(const struct vcpu *v, uint32_t sub, uint32_t r[4])
{
	unsigned cpus = 1U << log2_up(v->d->nr_vcpus), level;

	host_leaf(4, sub, r);
	if (!(r[0] & 31)) {
		memset(r, 0, 16);
		return;
	}
	level = r[0] >> 5 & 7;
	r[0] = (r[0] & 0x3fff) | ((level >= 3 ? cpus - 1 : 0) & 0xfff) << 14 | ((cpus - 1) & 0x3f) << 26;
}

static void leaf_b(const struct vcpu *v, uint32_t sub, uint32_t r[4])
{
	r[2] = sub & 0xff;
	r[3] = v->id;
	if (sub == 0) {                      /* threads of a core: one */
		r[1] = 1;
		r[2] |= 1 << 8;
	} else if (sub == 1) {               /* cores of the package */
		r[0] = log2_up(v->d->nr_vcpus);
		r[1] = v->d->nr_vcpus;
		r[2] |= 2 << 8;
	}
}

static void leaf_d(const struct vcpu *v, const struct cpuid_policy *p, uint32_t sub, uint32_t r[4])
{
	bool avx = p->word[CPUID_1_ECX] >> 28 & 1;

	if (!(p->word[CPUID_1_ECX] >> 26 & 1))
		return;
	if (sub == 0) {
		r[0] = avx ? XS_ALL : XS_X87 | XS_SSE;
		r[1] = v->xcr0 & XS_YMM ? XS_SIZE : XS_OFF_YMM;
		r[2] = avx ? XS_SIZE : XS_OFF_YMM;
	} else if (sub == 1) {
		r[0] = p->word[CPUID_D1_EAX];
		r[1] = r[0] & 2 ? (v->xcr0 & XS_YMM ? XS_SIZE : XS_OFF_YMM) : 0;
	} else if (sub == 2 && avx) {
		r[0] = XS_SIZE - XS_OFF_YMM;
		r[1] = XS_OFF_YMM;
	}
}

static void leaf_xen(const struct vcpu *v, const struct cpuid_policy *p, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	switch (leaf - XEN_LEAF) {
	case 0:
		r[0] = XEN_LEAF + 5;
		memcpy(&r[1], "XenVMMXenVMM", 12);
		break;
	case 1:
		r[0] = XEN_VERSION;
		break;
	case 2:
		r[0] = 1;                    /* hypercall pages, and the MSR that fills one (not offered: see privop_msr.c) */
		r[1] = XEN_LEAF;
		r[2] = 1;                    /* XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD */
		break;
	case 3:
		if (sub == 0) {
			r[0] = 1 << 1;               /* the TSC is safe */
			r[2] = (uint32_t)v->d->tsc_khz;
		} else if (sub == 2) {
			r[0] = (uint32_t)v->d->tsc_khz;
		}
		break;
	case 5:
		r[0] = p->phys_bits;         /* maximum machine address width of a PV guest */
		break;
	default:
		break;
	}
}

void cpuid_guest(const struct vcpu *v, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	const struct cpuid_policy *p = cpuid_policy_used();

	memset(r, 0, 16);
	if ((leaf & 0xffffff00U) == XEN_LEAF) {
		leaf_xen(v, p, leaf, sub, r);
		return;
	}
	switch (leaf) {
	case 0:
		r[0] = MAX_LEAF;
		memcpy(r + 1, p->vendor, sizeof(p->vendor));
		break;
	case 1:
		leaf_1(v, p, r);
		break;
	case 2:
		host_leaf(2, 0, r);
		break;
	case 4:
		leaf_4(v, sub, r);
		break;
	case 7:
		if (sub == 0) {
			r[0] = 1;
			r[1] = p->word[CPUID_7_EBX];
			r[2] = p->word[CPUID_7_ECX];
			r[3] = p->word[CPUID_7_EDX];
		} else if (sub == 1) {
			r[0] = p->word[CPUID_71_EAX];
		}
		break;
	case 0xb:
		leaf_b(v, sub, r);
		break;
	case 0xd:
		leaf_d(v, p, sub, r);
		break;
	case 0x16:
		/* the rate, so that Linux need not measure it with a timer chip that is not there */
		r[0] = r[1] = (uint32_t)(v->d->tsc_khz / 1000);
		break;
	case 0x80000000:
		r[0] = MAX_EXT_LEAF;
		if (p->vendor[0] != 0x756e6547)      /* AMD repeats the vendor; "Genu"ine Intel does not */
			memcpy(r + 1, p->vendor, sizeof(p->vendor));
		break;
	case 0x80000001:
		r[0] = p->vendor[0] != 0x756e6547 ? p->model : 0;
		r[2] = p->word[CPUID_E1_ECX];
		r[3] = p->word[CPUID_E1_EDX];
		break;
	case 0x80000002: case 0x80000003: case 0x80000004:
		memcpy(r, &p->brand[4 * (leaf - 0x80000002)], 16);
		break;
	case 0x80000005: case 0x80000006:
		host_leaf(leaf, 0, r);
		break;
	case 0x80000007:
		r[3] = p->word[CPUID_E7_EDX];
		break;
	case 0x80000008:
		r[0] = p->phys_bits | LINEAR_BITS << 8;
		break;
	default:
		break;
	}
}
