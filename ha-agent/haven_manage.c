/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * haven unmanage, manage - a resource out of Pacemaker's hands for a moment (xl save and restore), and back: Pacemaker first looks where it
 * runs now and only then acts on it again.
 */
#include <string.h>

#include "ha-agent/haven.h"
#include "lib/crm_run.h"

#define CIB_S 20

static int meta_set(const char *resource, const char *name, const char *value, struct err *err)
{
	return crm_run(NULL, err, CIB_S, "crm_resource", "--resource", resource, "--meta", "--set-parameter", name, "--parameter-value", value, NULL);
}

static int meta_delete(const char *resource, const char *name, struct err *err)
{
	return crm_run(NULL, err, CIB_S, "crm_resource", "--resource", resource, "--meta", "--delete-parameter", name, NULL);
}

static int run_unmanage(int argc, char **argv)
{
	const json_t *d;
	json_t *status;
	struct err err;
	int rc = 0;

	if (argc != 2 || argv[1][0] == '-')
		return haven_usage(&haven_cmd_unmanage);
	status = haven_status();
	if (!status)
		return HAVEN_FAILED;
	d = haven_find_domain(status, argv[1]);
	if (d && *haven_str(d, "intent"))
		rc = haven_fail("%s is being moved to %s; wait for that (haven status)", argv[1], haven_str(d, "intent"));
	json_decref(status);
	if (rc)
		return rc;
	if (meta_set(argv[1], "is-managed", "false", &err))
		return haven_fail("%s", err.text);
	(void)haven_wait_pacemaker();		/* what it had begun ends */
	return HAVEN_OK;
}

static int run_manage(int argc, char **argv)
{
	const char *role = argc == 3 ? argv[2] : NULL;
	struct err err = { 0 };
	int rc = 0;

	if (argc < 2 || argc > 3 || argv[1][0] == '-' || (role && strcmp(role, "Started") && strcmp(role, "Stopped")))
		return haven_usage(&haven_cmd_manage);
	if (role)
		rc = meta_set(argv[1], "target-role", role, &err);
	if (!rc)
		rc = haven_clear_failure(argv[1], &err);
	if (rc)
		return haven_fail("%s; %s stays unmanaged until haven manage %s succeeds", err.text, argv[1], argv[1]);
	(void)haven_wait_pacemaker();
	if (meta_delete(argv[1], "is-managed", &err))
		return haven_fail("%s; %s stays unmanaged until haven manage %s succeeds", err.text, argv[1], argv[1]);
	return HAVEN_OK;
}

const struct haven_command haven_cmd_unmanage = {
	"unmanage", "RESOURCE", "Pacemaker leaves a resource alone",
	"Pacemaker goes on watching the resource but starts, stops and moves it no more, until haven manage. xl save and restore use it.", run_unmanage
};

const struct haven_command haven_cmd_manage = {
	"manage", "RESOURCE [Started|Stopped]", "gives a resource back to Pacemaker",
	"Pacemaker forgets what it knew of the resource, looks on every node where it runs, and manages it again; with Started or Stopped that is\n"
	"what it is meant to be from then on.", run_manage
};
