/* SPDX-License-Identifier: GPL-2.0-or-later */
/* engine_none.c - see engine_none.h; with it what else hv-domain brings. */
#include "tests/unit/engine_none.h"

#include "hypervisor/abi/abi.h"
#include "hypervisor/engine/engine.h"

void vcpu_wake(struct vcpu *v) { }
void vcpu_yield(struct vcpu *v);
void vcpu_yield(struct vcpu *v) { }

static int eng_domain_init(struct domain *d, size_t n) { return 0; }
static void eng_domain_destroy(struct domain *d) { }
static int eng_vcpu_init(struct vcpu *v) { return 0; }
static void eng_frame_written(struct domain *d, uint64_t mfn) { }

const struct engine_ops engine_none = { .name = "none", .domain_init = eng_domain_init, .domain_destroy = eng_domain_destroy,
					.vcpu_init = eng_vcpu_init, .frame_written = eng_frame_written };
