/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hurry.c - see hurry.h. */
#include "lib/hurry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int hurry_raise(pid_t tid, enum hurry_level level)
{
	struct sched_param p = { .sched_priority = (int)level };

	return sched_setscheduler(tid, SCHED_RR | SCHED_RESET_ON_FORK, &p) < 0 ? -errno : 0;
}

int hurry_raise_heirs(enum hurry_level level)
{
	struct sched_param p = { .sched_priority = (int)level };

	return sched_setscheduler(0, SCHED_RR, &p) < 0 ? -errno : 0;
}

/* What somebody else made real time, at another level, is not ours to change. */
bool hurry_is_raised(pid_t tid)
{
	struct sched_param p;

	return (sched_getscheduler(tid) & ~SCHED_RESET_ON_FORK) == SCHED_RR && sched_getparam(tid, &p) == 0 &&
	       (p.sched_priority == HURRY_GUEST || p.sched_priority == HURRY_HELPER);
}

void hurry_lower(pid_t tid)
{
	const struct sched_param none = { 0 };

	/* an unprivileged thread may not take SCHED_RESET_ON_FORK away again; it changes nothing for an ordinary one */
	if (hurry_is_raised(tid) && sched_setscheduler(tid, SCHED_OTHER, &none) < 0)
		sched_setscheduler(tid, SCHED_OTHER | SCHED_RESET_ON_FORK, &none);
}

static bool name_begins(pid_t pid, const char *tid, const char *with)
{
	char path[64], name[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%.10s/comm", (int)pid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, name, sizeof(name));
	close(fd);
	return n >= (ssize_t)strlen(with) && strncmp(name, with, strlen(with)) == 0;
}

/* Threads may come and go meanwhile: one that comes is an ordinary one, one that has gone is nobody's. */
static int each_thread(pid_t pid, enum hurry_level level, const char *guest)
{
	char path[64];
	int rc = 0, r;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
		pid_t tid = (pid_t)atoi(e->d_name);

		if (tid <= 0)
			continue;
		if (!level)
			hurry_lower(tid);
		r = level && name_begins(pid, e->d_name, guest) == (level == HURRY_GUEST) ? hurry_raise(tid, level) : 0;
		if (r < 0 && r != -ESRCH)
			rc = r;
	}
	closedir(dir);
	return rc;
}

int hurry_raise_process(pid_t pid, const char *guest, enum hurry_level level)
{
	return each_thread(pid, level, guest);
}

void hurry_lower_process(pid_t pid)
{
	each_thread(pid, 0, NULL);
}
