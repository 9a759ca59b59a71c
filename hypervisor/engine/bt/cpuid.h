/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cpuid.h - the CPUID policy: what a PV guest sees, and how two hosts' policies compare.
 *
 * A policy is made from the host's CPU by a table of features with names (cpuid.c).  A guest runs under one policy for
 * life: migration sends it along, and pre-flight compares it with the target's by feature name.
 */
#ifndef BT_CPUID_H
#define BT_CPUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vcpu;

enum cpuid_word {
	CPUID_1_EDX, CPUID_1_ECX, CPUID_7_EBX, CPUID_7_ECX, CPUID_7_EDX, CPUID_71_EAX, CPUID_D1_EAX,
	CPUID_E1_EDX, CPUID_E1_ECX, CPUID_E7_EDX, CPUID_NR_WORDS
};

struct cpuid_policy {
	uint32_t word[CPUID_NR_WORDS];     /* feature words, masked to what we support */
	uint32_t vendor[3];                /* leaf 0: ebx, ecx, edx */
	uint32_t model;                    /* leaf 1: eax */
	uint32_t brand[12];                /* leaves 80000002..4 */
	uint32_t phys_bits;
};

#define CPUID_POLICY_BYTES (4 * (CPUID_NR_WORDS + 3 + 1 + 12 + 1))

/* The policy of this host.  Needs nothing but the CPU. */
void cpuid_policy_host(struct cpuid_policy *p);

/*
 * Names of p's features, in table order, at most n of them; returns how many there are.  Names are static strings, those
 * Linux shows in /proc/cpuinfo.
 */
size_t cpuid_policy_features(const struct cpuid_policy *p, const char **names, size_t n);

/* Set or clear a feature by name.  0, or -ENOENT for a name the table does not have. */
int cpuid_policy_set_feature(struct cpuid_policy *p, const char *name, bool on);

/* What both have: the policy of a cluster of a and b.  Vendor, model and brand are a's.  -EINVAL: vendors differ. */
int cpuid_policy_min(const struct cpuid_policy *a, const struct cpuid_policy *b, struct cpuid_policy *out);

/* The first feature of `guest` that `host` lacks, or NULL: the guest can run there. */
const char *cpuid_policy_missing(const struct cpuid_policy *guest, const struct cpuid_policy *host);

/*
 * Bits of one CPUID register cleared, and set as far as that promises nothing: features are only ever taken away, and with
 * one those that build on it; of family, model and stepping (leaf 1, eax) both count.  reg: 0 eax .. 3 edx.  What the
 * policy does not hold is left alone.
 */
void cpuid_policy_edit(struct cpuid_policy *p, uint32_t leaf, uint32_t sub, unsigned reg, uint32_t clear, uint32_t set);

/* What every guest has is there, and what needs a feature that is not goes. */
void cpuid_policy_settle(struct cpuid_policy *p);

/* As bytes (little-endian words in the order of the structure) and back; unpack: -EINVAL when n is wrong. */
void cpuid_policy_pack(const struct cpuid_policy *p, uint8_t out[CPUID_POLICY_BYTES]);
int cpuid_policy_unpack(struct cpuid_policy *p, const uint8_t *in, size_t n);

/*
 * The policy of this process's guest; the host's until set.  Set before its vCPUs run: the translator's state is not
 * touched, so features must be a subset of the host's.
 */
void cpuid_policy_use(const struct cpuid_policy *p);
const struct cpuid_policy *cpuid_policy_used(void);

/* The answer to cpuid on v: eax, ebx, ecx, edx. */
void cpuid_guest(const struct vcpu *v, uint32_t leaf, uint32_t sub, uint32_t r[4]);

#endif
