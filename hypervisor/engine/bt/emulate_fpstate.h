/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * emulate_fpstate.h - the vector state image v->xsave: standard XSAVE format, SDM vol. 1 chapter 13.
 */
#ifndef BT_EMULATE_FPSTATE_H
#define BT_EMULATE_FPSTATE_H

#include "hypervisor/vcpu.h"

#define XS_X87 1UL
#define XS_SSE 2UL
#define XS_YMM 4UL
#define XS_ALL (XS_X87 | XS_SSE | XS_YMM)      /* what a guest may ever enable; cpuid.c says the same */

#define XS_OFF_MXCSR 24
#define XS_OFF_ST 32
#define XS_OFF_XMM 160
#define XS_OFF_XMM_END 416
#define XS_OFF_HEADER 512                      /* XSTATE_BV, XCOMP_BV, 48 bytes that must be zero */
#define XS_OFF_YMM 576                         /* upper halves of ymm0..15, both formats */
#define XS_SIZE 832
#define MXCSR_DEFAULT 0x1f80U
#define MXCSR_VALID 0xffffU

/* Components that hold the initial state by XSTATE_BV get it written out, so that the bytes can be used directly. */
void xs_expand(struct vcpu *v);
/* Afterwards: no upper halves in use, no bit for them (a set bit makes the host slow). */
void xs_shrink(struct vcpu *v);
/* An image of nothing but zeros becomes the initial state (its MXCSR would unmask every exception). */
void xs_init_once(struct vcpu *v);

#endif
