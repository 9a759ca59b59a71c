/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hurry_share.c - how much of the time the kernel lets a process run at real-time priority.
 *
 * A bound for all (sched_rt_runtime_us, 95 % unless somebody changed it), and one for its control group where those have any: the cpu
 * controller of cgroup v1 in a kernel with CONFIG_RT_GROUP_SCHED; v2 has none.  A group's children cannot have more than it has.
 */
#include <stdio.h>
#include <string.h>

#include "lib/hurry.h"

#define ALL 100u

static bool number(const char *path, long long *ret)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fscanf(f, "%lld", ret) == 1;

	if (f)
		fclose(f);
	return ok;
}

/* Of a folder's PREFIXruntime_us and PREFIXperiod_us; what is not there, or -1, bounds nothing. */
static unsigned share_of(const char *folder, const char *prefix)
{
	long long runtime, period;
	char path[1200];

	snprintf(path, sizeof(path), "%s/%sruntime_us", folder, prefix);
	if (!number(path, &runtime) || runtime < 0)
		return ALL;
	snprintf(path, sizeof(path), "%s/%speriod_us", folder, prefix);
	if (!number(path, &period) || period <= 0 || runtime >= period)
		return ALL;
	return (unsigned)((double)runtime / (double)period * ALL);
}

/* "4:cpu,cpuacct:/a/group": the path, if it is the cpu controller's line. */
static const char *cpu_group(char *line)
{
	char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL, *save = NULL;

	if (!path)
		return NULL;
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	for (char *s = strtok_r(names + 1, ",", &save); s; s = strtok_r(NULL, ",", &save))
		if (!strcmp(s, "cpu"))
			return path;
	return NULL;
}

unsigned hurry_share(const char *root, pid_t pid)
{
	char path[256], folder[1100], line[1024];
	unsigned share, group;
	FILE *f;

	snprintf(folder, sizeof(folder), "%s/proc/sys/kernel", root);
	share = share_of(folder, "sched_rt_");
	snprintf(path, sizeof(path), "%s/proc/%d/cgroup", root, (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		const char *at = cpu_group(line);

		if (!at)
			continue;
		snprintf(folder, sizeof(folder), "%s/sys/fs/cgroup/cpu%s", root, at);
		group = share_of(folder, "cpu.rt_");
		share = group < share ? group : share;
	}
	if (f)
		fclose(f);
	return share;
}

bool hurry_pays(pid_t pid)
{
	return hurry_share("", pid) >= HURRY_SHARE_LEAST;
}
