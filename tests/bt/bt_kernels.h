/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_kernels.h - the loops that bt_speed times.
 */
#ifndef TESTS_BT_KERNELS_H
#define TESTS_BT_KERNELS_H

#include <stdint.h>

struct bt_kernel { const char *name; uint64_t (*fn)(uint8_t *mem); };

extern const struct bt_kernel bt_kernel_table[];            /* ends with a NULL name */
extern const uint8_t __start_bt_kernels[], __stop_bt_kernels[];   /* the linker's names of their section's ends */

#endif
