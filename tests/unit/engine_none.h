/* SPDX-License-Identifier: GPL-2.0-or-later */
/* engine_none.h - an engine that runs nothing, for what is tested beside a domain rather than in it: the back ends. */
#ifndef TESTS_UNIT_ENGINE_NONE_H
#define TESTS_UNIT_ENGINE_NONE_H

#include "hypervisor/domain_new.h"

extern const struct engine_ops engine_none;

#endif
