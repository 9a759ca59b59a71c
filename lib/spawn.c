/* SPDX-License-Identifier: GPL-2.0-or-later */
/* spawn.c - see spawn.h. */
#include "lib/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/hurry.h"

#define SPAWN_MAX_FDS 32

static int pidfd_of(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* In the child: descriptors are first lifted out of the way, then put in place, then everything above is closed. */
static void child_exec(char *const argv[], char *const env[], const int *fds, int nfds, int report)
{
	int lifted[SPAWN_MAX_FDS], e;
	sigset_t none;

	report = fcntl(report, F_DUPFD_CLOEXEC, 64);
	for (int i = 0; i < nfds; i++) {
		int fd = fds[i] >= 0 ? fds[i] : open("/dev/null", O_RDWR | O_CLOEXEC);

		lifted[i] = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 64);
		if (lifted[i] < 0)
			goto fail;
	}
	for (int i = 0; i < nfds; i++)
		if (dup2(lifted[i], i) < 0)
			goto fail;
	if (report > nfds)
		syscall(SYS_close_range, nfds, report - 1, 0);
	syscall(SYS_close_range, report + 1, ~0U, 0);
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	hurry_lower(0);
	setsid();
	execve(argv[0], argv, env ? env : environ);
fail:
	e = errno;
	if (write(report, &e, sizeof(e)) != sizeof(e))
		_exit(126);
	_exit(127);
}

pid_t spawn_program(char *const argv[], char *const env[], const int *fds, int nfds, int *ret_pidfd, struct err *err)
{
	int report[2], e = 0;
	ssize_t r;
	pid_t pid;

	if (nfds > SPAWN_MAX_FDS)
		return err_set(err, -EINVAL, "%s: too many descriptors to hand over", argv[0]);
	if (pipe2(report, O_CLOEXEC) < 0)
		return err_set(err, -errno, "%s: pipe: %s", argv[0], strerror(errno));
	pid = fork();
	if (pid == 0)
		child_exec(argv, env, fds, nfds, report[1]);
	close(report[1]);
	if (pid < 0) {
		e = errno;
		close(report[0]);
		return err_set(err, -e, "%s: fork: %s", argv[0], strerror(e));
	}
	do
		r = read(report[0], &e, sizeof(e));
	while (r < 0 && errno == EINTR);
	close(report[0]);
	if (r == (ssize_t)sizeof(e)) {
		waitpid(pid, NULL, 0);
		return err_set(err, -e, "cannot run %s: %s; is Haven installed completely?", argv[0], strerror(e));
	}
	if (ret_pidfd) {
		*ret_pidfd = pidfd_of(pid);
		if (*ret_pidfd < 0) {
			e = errno;
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			return err_set(err, -e, "%s: pidfd_open: %s", argv[0], strerror(e));
		}
	}
	return pid;
}

uint64_t spawn_start_time(pid_t pid)
{
	char path[64], line[1024], *p;
	unsigned long long v = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	p = fgets(line, sizeof(line), f);
	fclose(f);
	/* the command name may hold anything, so count fields from its closing parenthesis: state is field 3 */
	p = p ? strrchr(line, ')') : NULL;
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (p)
		v = strtoull(p + 1, NULL, 10);
	return v;
}

int spawn_reopen(pid_t pid, uint64_t start_time)
{
	int fd = pidfd_of(pid);

	if (fd < 0)
		return -errno;
	if (spawn_start_time(pid) != start_time || start_time == 0) {
		close(fd);
		return -ESRCH;
	}
	return fd;
}

int spawn_kill_wait(int pidfd, int timeout_ms)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	siginfo_t si;
	int r;

	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	do
		r = poll(&p, 1, timeout_ms);
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return -ETIMEDOUT;
	waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED | WNOHANG);
	return 0;
}
