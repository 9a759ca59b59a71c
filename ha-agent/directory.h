/* SPDX-License-Identifier: GPL-2.0-or-later */
/* directory.h - the ownership directory on disk (docs/specs/ownership.md, "On disk"): fsync'ed before it is used. */
#ifndef HA_AGENT_DIRECTORY_H
#define HA_AGENT_DIRECTORY_H

#include "ha-agent/ownership.h"
#include "lib/err.h"

struct directory { uint64_t boot, session; char boot_id[40]; };

/*
 * Opens path_state()/directory, counts this start (and, when the run folder was emptied since, this boot) and fsyncs that.
 * 0 or -errno with err.
 */
int directory_open(struct directory *d, struct err *err);
uint64_t directory_incarnation(const struct directory *d);
/* Puts what the disk knows into o. A record that cannot be read is an error: its domain is then not touched. */
int directory_load(const struct directory *d, struct own *o, struct err *err);
int directory_save_domain(const struct own_dom *dom);
int directory_save_nodes(const struct own *o);

#endif
