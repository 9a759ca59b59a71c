/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cib_link.c - see cib_link.h. */
#include "ha-agent/cib_link.h"

#include <stdlib.h>
#include <string.h>

#include <crm/cib.h>
#include <crm/common/xml.h>

#define CALL_S 30

static cib_t *cib;

static int failed(struct err *err, int rc, const char *what)
{
	return err_set(err, rc, "Pacemaker's configuration cannot be %s: %s; is pacemaker running?", what,
		       pcmk_strerror(rc));
}

static void link_end(void)
{
	if (!cib)
		return;
	cib->cmds->signoff(cib);
	cib_delete(cib);
	cib = NULL;
}

static int link_begin(struct err *err, const char *what)
{
	int rc;

	if (cib)
		return 0;
	cib = cib_new();
	if (!cib)
		return err_set(err, -ENOMEM, "out of memory");
	cib->call_timeout = CALL_S;
	rc = cib->cmds->signon(cib, "haven", cib_command);
	if (rc == pcmk_ok)
		return 0;
	cib_delete(cib);
	cib = NULL;
	return failed(err, rc, what);
}

/* A daemon that was started again ends the connection: the next call makes another one. */
static int link_result(struct err *err, int rc, const char *what)
{
	if (rc >= 0)
		return 0;
	if (rc != -ENXIO)
		link_end();
	return failed(err, rc, what);
}

int cib_link_query(const char *xpath, char **ret_xml, struct err *err)
{
	xmlNode *out = NULL;
	int rc = link_begin(err, "read");

	if (rc < 0)
		return rc;
	rc = cib->cmds->query(cib, xpath, &out, cib_sync_call | cib_xpath | cib_scope_local | cib_no_children);
	rc = link_result(err, rc, "read");
	if (rc == 0)
		*ret_xml = dump_xml_unformatted(out);
	free_xml(out);
	return rc == 0 && !*ret_xml ? err_set(err, -ENOMEM, "out of memory") : rc;
}

int cib_link_modify(const char *section, const char *xml, struct err *err)
{
	xmlNode *in;
	int rc = link_begin(err, "changed");

	if (rc < 0)
		return rc;
	in = string2xml(xml);
	if (!in)
		return err_set(err, -EINVAL, "no XML: %.100s", xml);
	rc = link_result(err, cib->cmds->modify(cib, section, in, cib_sync_call | cib_can_create), "changed");
	free_xml(in);
	return rc;
}

int cib_link_delete(const char *xpath, struct err *err)
{
	int rc = link_begin(err, "changed");

	if (rc < 0)
		return rc;
	rc = cib->cmds->remove(cib, xpath, NULL, cib_sync_call | cib_xpath | cib_multiple);
	return rc == -ENXIO ? 0 : link_result(err, rc, "changed");
}
