/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * constraint.h - Haven's location constraints: made by `haven migrate`, and gone with it whatever dies.
 *
 * A constraint's id is haven-move-RESOURCE-from-NODE, NODE being where the command runs. Who removes it: the command; ha-agentd
 * of that node when the command's connection ends, or when it starts again; any other node's when that node leaves the
 * cluster. A rule with an end date bounds what is left when everything died.
 */
#ifndef HA_AGENT_CONSTRAINT_H
#define HA_AGENT_CONSTRAINT_H

#include <stddef.h>

/*
 * ha-agentd: starts `haven cleanup [OPTION] NAME` (haven_follow.c has the order of things) and does not wait for it. Its pidfd,
 * the caller's, which is readable once it has ended; -ENOENT without Pacemaker, -errno.
 */
int constraint_cleanup(const char *option, const char *name);

/* The XPath that finds them; NULL: any. Names that are no Pacemaker ids give an expression that matches nothing. */
void constraint_xpath(char *buf, size_t size, const char *resource, const char *node);

#endif
