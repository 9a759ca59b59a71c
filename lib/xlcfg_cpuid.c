/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cpuid= of xl.cfg(5), both forms, to the canonical list of register edits (docs/specs/messages.md):
 *
 *	cpuid = "host,avx2=0,family=6"                       names of libxl, on top of what the node gives
 *	cpuid = [ "1:ecx=xxxxxxxxxxx0xxxxxxxxxxxxxxxxxxxx" ]      xend's: LEAF[,SUBLEAF]:REGISTER=32 characters, bit 31 first
 *
 * A bit is 0, 1, or x, k, s: as the node has it. What comes out says bits to clear and bits to set of a register, merged and
 * in order of leaf; which of them a guest may have is the hypervisor's to decide.
 */
#include "lib/xlcfg_cpuid.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { EAX, EBX, ECX, EDX };
#define NO_SUB 0U
#define EDITS_MAX 64

static const char *const reg_names[4] = { "eax", "ebx", "ecx", "edx" };

struct edit { uint32_t leaf, sub, clear, set; unsigned reg; };
struct edits { struct edit e[EDITS_MAX]; size_t n; };

/* ---- libxl's names: one bit each, and numbers of several ---- */

struct group { uint32_t leaf, sub; unsigned reg; const char *bits[32]; };

static const struct group groups[] = {
	{ 1, NO_SUB, ECX, { "sse3", "pclmulqdq", "dtes64", "monitor", "dscpl", "vmx", "smx", "est", "tm2", "ssse3", "cntxid", NULL, "fma",
			    "cmpxchg16", "xtpr", "pdcm", NULL, "pcid", "dca", "sse4_1", "sse4_2", "x2apic", "movbe", "popcnt",
			    "tsc-deadline", "aes", "xsave", "osxsave", "avx", "f16c", "rdrand", "hypervisor" } },
	{ 1, NO_SUB, ECX, { [0] = "pni", [19] = "sse4.1", [20] = "sse4.2" } },
	{ 1, NO_SUB, EDX, { "fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cmpxchg8", "apic", NULL, "sysenter", "mtrr", "pge",
			    "mca", "cmov", "pat", "pse36", "psn", "clfsh", NULL, "ds", "acpi", "mmx", "fxsr", "sse", "sse2", "ss", "htt",
			    "tm", "ia64", "pbe" } },
	{ 6, NO_SUB, EAX, { [2] = "arat" } },
	{ 7, 0, EBX, { "fsgsbase", "tsc_adjust", NULL, "bmi1", "hle", "avx2", NULL, "smep", "bmi2", "erms", "invpcid", "rtm", "cmt", NULL,
		       "mpx", NULL, "avx512f", "avx512dq", "rdseed", "adx", "smap", "avx512-ifma", NULL, "clflushopt", "clwb",
		       "proc-trace", "avx512pf", "avx512er", "avx512cd", "sha", "avx512bw", "avx512vl" } },
	{ 7, 0, ECX, { "prefetchwt1", "avx512-vbmi", "umip", "pku", "ospke", NULL, "avx512-vbmi2", "cet-ss", "gfni", "vaes", "vpclmulqdq",
		       "avx512-vnni", "avx512-bitalg", NULL, "avx512-vpopcntdq", [22] = "rdpid", [25] = "cldemote" } },
	{ 7, 0, EDX, { [2] = "avx512-4vnniw", [3] = "avx512-4fmaps", [4] = "fsrm", [8] = "avx512-vp2intersect", [9] = "srbds-ctrl",
		       [10] = "md-clear", [14] = "serialize", [16] = "tsxldtrk", [20] = "cet-ibt", [26] = "ibrsb", [27] = "stibp",
		       [28] = "l1d-flush", [29] = "arch-caps", [30] = "core-caps", [31] = "ssbd" } },
	{ 7, 1, EAX, { [4] = "avx-vnni", [5] = "avx512-bf16", [10] = "fzrm", [11] = "fsrs", [12] = "fsrcs" } },
	{ 0xd, 1, EAX, { "xsaveopt", "xsavec", "xgetbv1", "xsaves" } },
	{ 0x80000001, NO_SUB, ECX, { "lahfsahf", "cmplegacy", "svm", "extapic", "altmovcr8", "abm", "sse4a", "misalignsse",
				     "3dnowprefetch", "osvw", "ibs", "xop", "skinit", "wdt", NULL, "lwp", "fma4", [19] = "nodeid",
				     [21] = "tbm", [22] = "topoext", [23] = "perfctr_core", [24] = "perfctr_nb" } },
	{ 0x80000001, NO_SUB, EDX, { [11] = "syscall", [19] = "mp", [20] = "nx", [22] = "mmxext", [25] = "ffxsr", [26] = "page1gb",
				     [27] = "rdtscp", [29] = "lm", [30] = "3dnowext", [31] = "3dnow" } },
	{ 0x80000007, NO_SUB, EDX, { [8] = "invtsc" } },
	{ 0x80000008, NO_SUB, EBX, { [0] = "clzero", [2] = "rstr-fp-err-ptrs", [9] = "wbnoinvd", [12] = "ibpb" } },
};

static const struct { const char *name; uint32_t leaf; unsigned reg, at, width; } numbers[] = {
	{ "maxleaf", 0, EAX, 0, 32 }, { "apicidsize", 0x80000008, ECX, 12, 4 }, { "brandid", 1, EBX, 0, 8 },
	{ "clflush", 1, EBX, 8, 8 }, { "localapicid", 1, EBX, 24, 8 }, { "maxhvleaf", 0x40000000, EAX, 0, 8 },
	{ "nc", 0x80000008, ECX, 0, 8 }, { "proccount", 1, EBX, 16, 8 }, { "procpkg", 4, EAX, 26, 6 },
	{ "stepping", 1, EAX, 0, 4 },
};

static int edit_add(struct edits *x, uint32_t leaf, uint32_t sub, unsigned reg, uint32_t clear, uint32_t set)
{
	size_t i = 0;

	while (i < x->n && (x->e[i].leaf < leaf || (x->e[i].leaf == leaf && (x->e[i].sub < sub || (x->e[i].sub == sub && x->e[i].reg < reg)))))
		i++;
	if (i == x->n || x->e[i].leaf != leaf || x->e[i].sub != sub || x->e[i].reg != reg) {
		if (x->n == EDITS_MAX)
			return -E2BIG;
		memmove(&x->e[i + 1], &x->e[i], (x->n - i) * sizeof(x->e[0]));
		x->n++;
		x->e[i] = (struct edit){ .leaf = leaf, .sub = sub, .reg = reg };
	}
	/* the later word counts */
	x->e[i].clear = (x->e[i].clear & ~set) | clear;
	x->e[i].set = (x->e[i].set & ~clear) | set;
	return 0;
}

static int number_add(struct edits *x, uint32_t leaf, unsigned reg, unsigned at, unsigned width, unsigned long n)
{
	uint32_t mask = width == 32 ? UINT32_MAX : ((1U << width) - 1) << at, val = (uint32_t)n << at;

	if (width < 32 && n >> width)
		return -EINVAL;
	return edit_add(x, leaf, NO_SUB, reg, mask & ~val, mask & val);
}

/* Family and model lie in two pieces (SDM vol. 2, CPUID): 15 and the rest; low and high four bits. */
static int family_add(struct edits *x, unsigned long n)
{
	unsigned long ext = n > 15 ? n - 15 : 0;

	if (ext > 255 || number_add(x, 1, EAX, 20, 8, ext))
		return -EINVAL;
	return number_add(x, 1, EAX, 8, 4, n > 15 ? 15 : n);
}

static int model_add(struct edits *x, unsigned long n)
{
	if (n > 255 || number_add(x, 1, EAX, 16, 4, n >> 4))
		return -EINVAL;
	return number_add(x, 1, EAX, 4, 4, n & 15);
}

/* 0; -ENOENT: no such name; -EINVAL: not a value of it. */
static int name_add(struct edits *x, const char *name, size_t len, const char *value)
{
	unsigned long n;
	char *end;

	for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
		for (unsigned bit = 0; bit < 32; bit++) {
			const char *have = groups[g].bits[bit];

			if (!have || strlen(have) != len || memcmp(have, name, len))
				continue;
			if (!value[0] || value[1] || !strchr("01xks", value[0]))
				return -EINVAL;
			return edit_add(x, groups[g].leaf, groups[g].sub, groups[g].reg, value[0] == '0' ? 1U << bit : 0,
					value[0] == '1' ? 1U << bit : 0);
		}
	errno = 0;
	n = strtoul(value, &end, 0);
	if (len == 6 && !memcmp(name, "family", 6))
		return errno || *end || !*value ? -EINVAL : family_add(x, n);
	if (len == 5 && !memcmp(name, "model", 5))
		return errno || *end || !*value ? -EINVAL : model_add(x, n);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strlen(numbers[i].name) == len && !memcmp(numbers[i].name, name, len))
			return errno || *end || !*value ? -EINVAL :
			       number_add(x, numbers[i].leaf, numbers[i].reg, numbers[i].at, numbers[i].width, n);
	return -ENOENT;
}

static int complain(struct xlcfg_file *file, const struct xlcfg_value *v, size_t at, const char *word, size_t len, const char *why)
{
	/* the quote comes before the text */
	return xlcfg_error(file, v->line, v->column + 1 + (unsigned)at, -EINVAL, "cpuid: '%.*s' %s", (int)(len > 80 ? 80 : len), word, why);
}

/* "host,NAME=VALUE,..." */
static int libxl_parse(struct xlcfg_file *file, const struct xlcfg_value *v, struct edits *x)
{
	const char *s = v->text, *word = s;
	bool first = true;

	for (;; word = s + 1, first = false) {
		char value[16];
		const char *eq;
		size_t len, vlen;
		int rc;

		s = strchr(word, ',');
		len = s ? (size_t)(s - word) : strlen(word);
		if (first) {
			if (len != 4 || memcmp(word, "host", 4))
				return complain(file, v, 0, word, len, "must be 'host': what the node gives is where it begins");
		} else {
			eq = memchr(word, '=', len);
			vlen = eq ? len - (size_t)(eq + 1 - word) : 0;
			if (!eq || vlen >= sizeof(value))
				return complain(file, v, (size_t)(word - v->text), word, len, "is not NAME=VALUE");
			memcpy(value, eq + 1, vlen);
			value[vlen] = '\0';
			rc = name_add(x, word, (size_t)(eq - word), value);
			if (rc == -ENOENT)
				return complain(file, v, (size_t)(word - v->text), word, (size_t)(eq - word), "is no CPUID flag of xl.cfg(5)");
			if (rc)
				return complain(file, v, (size_t)(word - v->text), word, len, "has no such value; flags take 0, 1, x, k or s");
		}
		if (!s)
			return 0;
	}
}

static int bits_add(struct edits *x, uint32_t leaf, uint32_t sub, unsigned reg, const char *bits)
{
	uint32_t clear = 0, set = 0;

	for (unsigned i = 0; i < 32; i++) {
		if (!bits[i] || !strchr("01xks", bits[i]))
			return -EINVAL;
		clear |= bits[i] == '0' ? 1U << (31 - i) : 0;
		set |= bits[i] == '1' ? 1U << (31 - i) : 0;
	}
	return edit_add(x, leaf, sub, reg, clear, set);
}

/* "LEAF[,SUBLEAF]:REG=BITS[,REG=BITS]" */
static int xend_parse(struct xlcfg_file *file, const struct xlcfg_value *v, struct edits *x)
{
	unsigned long leaf, sub = 0;
	const char *s = v->text ? v->text : "";
	char *end;

	leaf = strtoul(s, &end, 0);
	if (end != s && *end == ',')
		sub = strtoul(end + 1, &end, 0);
	if (end == s || *end != ':' || leaf > UINT32_MAX || sub > UINT32_MAX)
		return complain(file, v, 0, s, strlen(s), "does not begin with LEAF: or LEAF,SUBLEAF:");
	for (s = end + 1;; s += 37) {
		unsigned reg = 0;

		while (reg < 4 && strncmp(s, reg_names[reg], 3))
			reg++;
		if (reg == 4 || s[3] != '=')
			return complain(file, v, (size_t)(s - v->text), s, strlen(s), "is not eax=, ebx=, ecx= or edx=");
		if (strlen(s) < 36 || (s[36] && s[36] != ',') || bits_add(x, (uint32_t)leaf, (uint32_t)sub, reg, s + 4))
			return complain(file, v, (size_t)(s - v->text), s, strlen(s), "is not 32 characters of 0, 1, x, k and s");
		if (!s[36])
			return 0;
	}
}

int xlcfg_cpuid_parse(struct xlcfg_file *file, const struct xlcfg_value *v, json_t **ret)
{
	struct edits x = { .n = 0 };
	json_t *list;
	int rc = 0;

	if (v->kind == XLCFG_LIST)
		for (size_t i = 0; i < v->n_items && !rc; i++)
			rc = xend_parse(file, &v->items[i], &x);
	else
		rc = libxl_parse(file, v, &x);
	if (rc)
		return rc;
	list = json_array();
	for (size_t i = 0; i < x.n; i++)
		if ((x.e[i].clear || x.e[i].set) &&
		    json_array_append_new(list, json_pack("{s:I, s:I, s:s, s:I, s:I}", "leaf", (json_int_t)x.e[i].leaf, "subleaf",
							  (json_int_t)x.e[i].sub, "reg", reg_names[x.e[i].reg], "clear",
							  (json_int_t)x.e[i].clear, "set", (json_int_t)x.e[i].set)))
			rc = -ENOMEM;
	if (rc) {
		json_decref(list);
		return rc;
	}
	*ret = list;
	return 0;
}
