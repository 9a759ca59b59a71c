/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * evtchn.h - the state of a domain's event channels, shared by evtchn.c (mechanics), evtchn_op.c (the hypercall),
 * evtchn_fifo.c (the FIFO ABI) and abi_image.c.  Everything under d->lock.
 */
#ifndef HV_EVTCHN_H
#define HV_EVTCHN_H

#include "hypervisor/abi/abi_private.h"
#include <xen/event_channel.h>

#define EVTCHN_MAX_PORTS 4096U            /* the 2-level ABI's limit, kept for FIFO too */
#define EVTCHN_WORDS (EVTCHN_MAX_PORTS / 64)
#define FIFO_WORDS_PER_PAGE (PAGE_SIZE_HV / sizeof(uint32_t))
#define FIFO_MAX_PAGES (EVTCHN_MAX_PORTS / FIFO_WORDS_PER_PAGE)

_Static_assert(EVTCHN_MAX_PORTS <= EVTCHN_2L_NR_CHANNELS, "a port must have its bit in shared_info");

/*
 *   FREE -> UNBOUND        alloc_unbound, evtchn_bind_backend
 *   UNBOUND -> BACKEND     evtchn_connect_backend (remote is Domain-0)
 *   UNBOUND -> LOOP        bind_interdomain by the guest itself; both ends LOOP, remote_port names the other
 *   FREE -> VIRQ, IPI      bind_virq, bind_ipi
 *   any -> FREE            close, reset; the other end of a LOOP goes back to UNBOUND
 */
enum evtchn_kind { EC_FREE, EC_UNBOUND, EC_BACKEND, EC_LOOP, EC_VIRQ, EC_IPI, EC_NR_KINDS };

struct evtchn {
	uint8_t kind;
	uint8_t vcpu;                     /* notified */
	uint8_t virq;                     /* EC_VIRQ */
	uint8_t priority;                 /* FIFO */
	uint8_t last_vcpu, last_priority; /* FIFO: queue the event was last linked on */
	uint8_t fifo_pending;             /* FIFO: raised before its array page existed */
	uint16_t remote_dom;              /* EC_UNBOUND */
	uint32_t remote_port;             /* EC_LOOP */
};

struct fifo_queue { uint32_t tail; };

struct fifo_vcpu {
	uint64_t control_mfn;             /* 0: none */
	uint32_t control_offset;
	struct fifo_queue queue[EVTCHN_FIFO_MAX_QUEUES];
};

struct evtchn_state {
	struct evtchn port[EVTCHN_MAX_PORTS];
	uint32_t virq_port[HV_MAX_VCPUS][NR_VIRQS];   /* 0: unbound */
	bool fifo;
	unsigned fifo_nr_pages;
	uint64_t fifo_page_mfn[FIFO_MAX_PAGES];
	struct fifo_vcpu fifo_vcpu[HV_MAX_VCPUS];
};

int evtchn_alloc(struct domain *d);                     /* lowest free port, still FREE; or -ENOSPC */
void evtchn_free(struct domain *d, uint32_t port);      /* back to FREE, pending and linked state cleared */
void evtchn_set_pending(struct domain *d, uint32_t port);
int evtchn_unmask_port(struct domain *d, uint32_t port);
bool evtchn_bind_notify(struct domain *d, uint32_t port, unsigned vcpu);

bool virq_is_global(uint32_t virq);

int64_t fifo_init_control(struct vcpu *v, struct evtchn_init_control *a);
int64_t fifo_expand_array(struct vcpu *v, const struct evtchn_expand_array *a);
int64_t fifo_set_priority(struct domain *d, const struct evtchn_set_priority *a);
bool fifo_is_pending(const struct domain *d, uint32_t port);
bool fifo_set_pending(struct domain *d, uint32_t port); /* true: a poller may be interested */
void fifo_clear_pending(struct domain *d, uint32_t port);
void fifo_unmask(struct domain *d, uint32_t port);
void fifo_reset(struct domain *d);

#endif
