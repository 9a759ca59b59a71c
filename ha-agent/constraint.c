/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Haven's location constraints, removed through cibadmin; see constraint.h. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ha-agent/constraint.h"
#include "lib/log.h"
#include "lib/spawn.h"

#define CIBADMIN "/usr/sbin/cibadmin"

static int name_is_plain(const char *s)
{
	return *s && strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == strlen(s);
}

void constraint_xpath(char *buf, size_t size, const char *resource, const char *node)
{
	if ((resource && !name_is_plain(resource)) || (node && !name_is_plain(node))) {
		snprintf(buf, size, "//rsc_location[@id='']");
		return;
	}
	if (resource)
		snprintf(buf, size, "//rsc_location[starts-with(@id,'haven-move-%s-from-')][@rsc='%s']", resource, resource);
	else if (node)	/* XPath 1.0 has no ends-with() */
		snprintf(buf, size, "//rsc_location[starts-with(@id,'haven-move-')]"
			 "[substring(@id,string-length(@id)-%zu)='-from-%s']", strlen(node) + 5, node);
	else
		snprintf(buf, size, "//rsc_location[starts-with(@id,'haven-move-')]");
}

static void constraint_delete(const char *resource, const char *node)
{
	char xpath[512], option[] = "--xpath", verb[] = "--delete-all", force[] = "--force", program[] = CIBADMIN;
	char *argv[] = { program, verb, force, option, xpath, NULL };
	int fds[3] = { -1, -1, -1 };
	struct err err;
	pid_t pid;

	/* children of before, each by its pid's turn: none of ours is waited for otherwise */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	if (access(CIBADMIN, X_OK))
		return;		/* no Pacemaker, no constraints */
	constraint_xpath(xpath, sizeof(xpath), resource, node);
	pid = spawn_program(argv, NULL, fds, 3, NULL, &err);
	if (pid < 0)
		log_warn("Haven's location constraints are not removed now: %s", err.text);
}

void constraint_clear_resource(const char *resource)
{
	constraint_delete(resource, NULL);
}

void constraint_clear_node(const char *node)
{
	constraint_delete(NULL, node);
}

void constraint_clear_own(void)
{
	char host[128] = "";

	gethostname(host, sizeof(host) - 1);
	constraint_delete(NULL, host);
}
