/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Haven's location constraints: how they are found, and how ha-agentd has them removed; see constraint.h. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ha-agent/constraint.h"
#include "lib/log.h"
#include "lib/spawn.h"

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
	if (resource && node)
		snprintf(buf, size, "//rsc_location[@id='haven-move-%s-from-%s'][@rsc='%s']", resource, node, resource);
	else if (resource)
		snprintf(buf, size, "//rsc_location[starts-with(@id,'haven-move-%s-from-')][@rsc='%s']", resource, resource);
	else if (node)	/* XPath 1.0 has no ends-with() */
		snprintf(buf, size, "//rsc_location[starts-with(@id,'haven-move-')]"
			 "[substring(@id,string-length(@id)-%zu)='-from-%s']", strlen(node) + 5, node);
	else
		snprintf(buf, size, "//rsc_location[starts-with(@id,'haven-move-')]");
}

/* `haven` is installed beside ha-agentd. */
static int haven_path(char *path, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", path, size - 1);
	char *slash;

	if (n <= 0)
		return -ENOENT;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash || (size_t)(slash - path) + sizeof("/haven") > size)
		return -ENAMETOOLONG;
	strcpy(slash, "/haven");
	return access(path, X_OK) ? -errno : 0;
}

int constraint_cleanup(const char *option, const char *name)
{
	char program[PATH_MAX], verb[] = "cleanup", opt[32], arg[256];
	char *argv[] = { program, verb, option ? opt : arg, option ? arg : NULL, NULL };
	int fds[3] = { -1, -1, -1 }, pidfd = -1, rc;
	struct err err = { 0 };

	while (waitpid(-1, NULL, WNOHANG) > 0)
		;	/* those of before: nobody waits for them */
	snprintf(opt, sizeof(opt), "%s", option ? option : "");
	snprintf(arg, sizeof(arg), "%s", name);
	if (access("/usr/sbin/crm_resource", X_OK))
		return -ENOENT;
	rc = haven_path(program, sizeof(program));
	if (!rc)
		rc = spawn_program(argv, NULL, fds, 3, &pidfd, &err);
	if (rc >= 0)
		return pidfd;
	log_warn("haven cleanup %s %s cannot be run: %s", opt, arg, err.text);
	return rc;
}
