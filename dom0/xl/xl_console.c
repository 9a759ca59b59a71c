/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xl_console.c - a domain's console: the pty that xenconsoled named in the store, until Ctrl-]. */
#include "dom0/xl/xl.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define ESCAPE 0x1d
#define QUIET_MS 2000           /* after the end of a piped input: this long without output ends it */
#define APPEAR_MS 5000

static struct termios saved;
static bool raw;

static void restore_terminal(void)
{
	if (raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	raw = false;
}

static void make_raw(void)
{
	struct termios t;

	if (tcgetattr(STDIN_FILENO, &saved) < 0)
		return;
	t = saved;
	cfmakeraw(&t);
	raw = tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
	atexit(restore_terminal);
}

static bool write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t r = write(fd, p, n);

		if (r <= 0)
			return false;
		p += r;
		n -= (size_t)r;
	}
	return true;
}

/* Copies both ways until Ctrl-], the pty's end, or quiet after the end of a piped input. */
static int relay(int pty)
{
	struct pollfd p[2] = { { pty, POLLIN, 0 }, { STDIN_FILENO, POLLIN, 0 } };
	char buf[4096];

	for (;;) {
		int r = poll(p, p[1].fd < 0 ? 1 : 2, p[1].fd < 0 ? QUIET_MS : -1);
		ssize_t n;

		if (r == 0)
			return XL_OK;
		if (p[0].revents) {
			n = read(pty, buf, sizeof(buf));
			if (n <= 0)
				return XL_OK;        /* the domain, or xenconsoled, has gone */
			if (!write_all(STDOUT_FILENO, buf, (size_t)n))
				return XL_FAILED;
		}
		if (p[1].fd >= 0 && p[1].revents) {
			char *esc;

			n = read(STDIN_FILENO, buf, sizeof(buf));
			if (n <= 0) {
				p[1].fd = -1;
				continue;
			}
			esc = raw ? memchr(buf, ESCAPE, (size_t)n) : NULL;
			if (!write_all(pty, buf, esc ? (size_t)(esc - buf) : (size_t)n) || esc)
				return XL_OK;
		}
	}
}

/* xenconsoled names the pty a moment after the domain exists. */
static char *wait_for_tty(long long domid)
{
	for (int ms = 0; ms < APPEAR_MS; ms += 50) {
		char *tty = xl_store_read("/local/domain/%lld/console/tty", domid);

		if (tty && *tty)
			return tty;
		free(tty);
		usleep(50000);
	}
	return NULL;
}

int xl_console_attach(long long domid)
{
	char *tty = wait_for_tty(domid);
	int pty, rc;

	if (!tty)
		return xl_fail("domain %lld has no console in the store; do xenstored and xenconsoled run?", domid);
	pty = open(tty, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty < 0) {
		rc = xl_fail("%s: cannot open the console: %s; does xenconsoled run?", tty, strerror(errno));
		free(tty);
		return rc;
	}
	free(tty);
	if (isatty(STDIN_FILENO))
		make_raw();
	rc = relay(pty);
	restore_terminal();
	close(pty);
	return rc;
}

int cmd_console(int argc, char **argv)
{
	long long domid;
	struct err err;
	json_t *d;

	if (argc != 2)
		return xl_usage("console");
	if (xl_find(argv[1], &d, &err) < 0)
		return xl_error(&err);
	domid = xl_int(d, "domid");
	json_decref(d);
	return xl_console_attach(domid);
}
