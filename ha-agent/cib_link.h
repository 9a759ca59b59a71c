/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cib_link.h - Pacemaker's configuration and state over one connection of libcib: what cibadmin does, without a
 * process each time.
 *
 * One connection a process, made at first use and kept.  Answers are XML text, compact.
 */
#ifndef HA_AGENT_CIB_LINK_H
#define HA_AGENT_CIB_LINK_H

#include "lib/err.h"

/*
 * The elements that the XPath finds, without what is in them, from this node's copy: *ret_xml (the caller frees).
 * -ENXIO: nothing.
 */
int cib_link_query(const char *xpath, char **ret_xml, struct err *err);
/* Merges the XML, the section itself or one thing in it, into a section. */
int cib_link_modify(const char *section, const char *xml, struct err *err);
/* Deletes all that the XPath finds; nothing is no error. */
int cib_link_delete(const char *xpath, struct err *err);

#endif
