/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hypervisord_cgroup.c - a domain's share of the CPUs: credit2's weight and cap, by the cgroup (version 2) its process has of its own,
 * the scope that systemd made for it.  The kernel does the work; here two files are written.
 */
#include "hypervisor/hypervisord.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "lib/paths.h"

#define PERIOD_US 100000
#define REMEDY "weight and cap need a cgroup (version 2, with the cpu controller) of the domain's own: boot with systemd's unified " \
	"hierarchy and start hypervisord as its unit"

static const char *cgroup_root(void)
{
	const char *dir = getenv("HAVEN_CGROUP_DIR");

	return dir ? dir : "/sys/fs/cgroup";
}

/* The folder of the domain's own cgroup: the line "0::/PATH" of proc(5)'s cgroup, when PATH ends in the domain's unit. */
static int cgroup_folder(const struct dom *d, char *buf, size_t size)
{
	char path[64], line[512], unit[48];
	int rc = -ENOENT;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/cgroup", (int)d->pid);
	snprintf(unit, sizeof unit, "/haven-domain-%u.scope", d->domid);
	f = d->pid > 0 ? fopen(path, "re") : NULL;
	while (f && rc && fgets(line, sizeof line, f)) {
		size_t n = strcspn(line, "\n"), m = strlen(unit);

		line[n] = 0;
		if (!strncmp(line, "0::/", 4) && n > m && !strcmp(line + n - m, unit))
			rc = path_join(buf, size, cgroup_root(), "%s", line + 4);
	}
	if (f)
		fclose(f);
	return rc;
}

static int knob_write(const char *folder, const char *knob, const char *value)
{
	char path[640];
	int fd, rc = path_join(path, sizeof path, folder, "%s", knob);

	if (rc)
		return rc;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

/* credit2: weights from 1, 256 as the middle; cap in hundredths of a CPU, 0: none.  cgroups: 1 to 10000 with 100; time a period. */
int cgroup_set(struct dom *d, int64_t weight, int64_t cap, struct err *err)
{
	int64_t share = weight * 100 / 256;
	char folder[560], value[64];
	int rc = cgroup_folder(d, folder, sizeof folder);

	snprintf(value, sizeof value, "%lld", (long long)(share < 1 ? 1 : share > 10000 ? 10000 : share));
	if (!rc)
		rc = knob_write(folder, "cpu.weight", value);
	if (cap)
		snprintf(value, sizeof value, "%lld %d", (long long)cap * PERIOD_US / 100, PERIOD_US);
	else
		snprintf(value, sizeof value, "max %d", PERIOD_US);
	if (!rc)
		rc = knob_write(folder, "cpu.max", value);
	return rc ? err_set(err, rc == -ENOENT ? -ENOTSUP : rc, "domain %s: %s", d->name, rc == -ENOENT ? REMEDY : strerror(-rc)) : 0;
}
