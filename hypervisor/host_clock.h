/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * host_clock.h - the TSC's rate without waiting for it.  Both before the first abi_tsc_khz(), which without them takes 20 ms.
 */
#ifndef HV_HOST_CLOCK_H
#define HV_HOST_CLOCK_H

#include <stdint.h>

void host_clock_begin(void);                  /* the measurement begins here; abi_tsc_khz() ends it */
void host_clock_told(uint64_t tsc_khz);       /* somebody on this host has measured it; 0: nobody */

#endif
