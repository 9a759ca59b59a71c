/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual disk names, as in xen-vbd-interface(7): "xvda", "xvda1", "sdb", "hdc", "d2p3", "51712", "0xca00".
 * Pure: no memory is allocated, nothing is opened.
 */
#ifndef HAVEN_LIB_VDEV_H
#define HAVEN_LIB_VDEV_H

#include <stddef.h>
#include <stdint.h>

/* The number under which a vbd appears in the store. -EINVAL when the name is none. */
int vdev_to_devid(const char *vdev, uint32_t *ret_devid);

/* The name xl prints for a number ("xvda1"); numbers of the sd and hd ranges come back under those names. */
int vdev_from_devid(uint32_t devid, char *buf, size_t size);

#endif
