/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hv_domain_ahead.h - a guest's code made ready beside the rounds that bring its memory.  Of the control thread's. */
#ifndef HV_DOMAIN_AHEAD_H
#define HV_DOMAIN_AHEAD_H

#include "hypervisor/domain.h"

/* Begins to translate what the list (the body of the stream's CODE) names, after what an earlier one does.  0, or -errno: it is not made ready. */
int hv_ahead_start(struct domain *d, int list);
/* From here on nothing is translated but what runs.  Before the guest's state is loaded, and before pages of it are owed; idempotent. */
void hv_ahead_stop(void);

#endif
