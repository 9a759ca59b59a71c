/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xlcfg_cpuid.h - the cpuid= setting of xl.cfg(5). */
#ifndef HAVEN_LIB_XLCFG_CPUID_H
#define HAVEN_LIB_XLCFG_CPUID_H

#include <stdbool.h>
#include <jansson.h>

#include "lib/xlcfg_syntax.h"

/*
 * A new reference to the list of edits [{"leaf","subleaf","reg","clear","set"}], empty when nothing is to change. 0; -EINVAL with
 * FILE:LINE:COLUMN in the report; -E2BIG; -ENOMEM.
 */
int xlcfg_cpuid_parse(struct xlcfg_file *file, const struct xlcfg_value *v, json_t **ret);

#endif
