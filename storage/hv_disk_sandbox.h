/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hv_disk_sandbox.h - what hv-disk may ask of the kernel once it is configured. */
#ifndef STORAGE_HV_DISK_SANDBOX_H
#define STORAGE_HV_DISK_SANDBOX_H

#include <sys/types.h>
#include "lib/err.h"

/* For good: uid, an empty root, the list of system calls. 0, or -errno with err. */
int hv_disk_sandbox_enter(uid_t uid, struct err *err);

#endif
