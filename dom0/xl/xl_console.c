/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xl_console.c - a domain's console: the pty that xenconsoled has for it, until Ctrl-].
 *
 * xenconsoled may restart: the domain then gets another pty, and this goes on there.  Which one is asked of xenconsoled (through
 * hypervisord): the store still names the old one for a moment, and that number may be another terminal's by then.
 */
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
#define AGAIN_MS 15000          /* for xenconsoled to come back */
#define AGAIN_POLL_MS 100

enum relay_end { RELAY_DONE, RELAY_FAILED, RELAY_LOST };

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

/* Copies both ways until Ctrl-], the pty's end, or quiet after the end of a piped input, which *eof remembers. */
static enum relay_end relay(int pty, bool *eof)
{
	struct pollfd p[2] = { { pty, POLLIN, 0 }, { *eof ? -1 : STDIN_FILENO, POLLIN, 0 } };
	char buf[4096];

	for (;;) {
		int r = poll(p, p[1].fd < 0 ? 1 : 2, p[1].fd < 0 ? QUIET_MS : -1);
		ssize_t n;

		if (r == 0)
			return RELAY_DONE;
		if (p[0].revents) {
			n = read(pty, buf, sizeof(buf));
			if (n <= 0)
				return RELAY_LOST;   /* the domain, or xenconsoled, has gone */
			if (!write_all(STDOUT_FILENO, buf, (size_t)n))
				return RELAY_FAILED;
		}
		if (p[1].fd >= 0 && p[1].revents) {
			char *esc;

			n = read(STDIN_FILENO, buf, sizeof(buf));
			if (n <= 0) {
				p[1].fd = -1;
				*eof = true;
				continue;
			}
			esc = raw ? memchr(buf, ESCAPE, (size_t)n) : NULL;
			if (!write_all(pty, buf, esc ? (size_t)(esc - buf) : (size_t)n))
				return RELAY_LOST;
			if (esc)
				return RELAY_DONE;
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

static int pty_open(const char *tty)
{
	return open(tty, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

/* The domain's pty of a xenconsoled that came back; -ENOENT: the domain is gone; -ETIMEDOUT: xenconsoled stays away. */
static int pty_again(long long domid)
{
	struct err err;

	for (int ms = 0; ms < AGAIN_MS; ms += AGAIN_POLL_MS) {
		json_t *reply = NULL;
		int fd = -1, rc = xl_hypervisord(json_pack("{s:s, s:I}", "op", "console-path", "domid", (json_int_t)domid), &reply, &err);
		bool gone = rc == -ENOENT && xl_hypervisord(json_pack("{s:s, s:I}", "op", "list", "domid", (json_int_t)domid), NULL, &err) == -ENOENT;

		if (rc == 0)
			fd = pty_open(xl_str(reply, "path"));
		json_decref(reply);
		if (fd >= 0 || gone)
			return gone ? -ENOENT : fd;
		usleep(AGAIN_POLL_MS * 1000);
	}
	return -ETIMEDOUT;
}

static int relay_on(int pty, long long domid)
{
	enum relay_end end;
	bool eof = false;

	while ((end = relay(pty, &eof)) == RELAY_LOST) {
		close(pty);
		pty = pty_again(domid);
		if (pty == -ENOENT)
			return XL_OK;
		if (pty < 0) {
			restore_terminal();
			return xl_fail("the console of domain %lld has gone, and xenconsoled does not come back; does it run?", domid);
		}
	}
	close(pty);
	return end == RELAY_DONE ? XL_OK : XL_FAILED;
}

int xl_console_attach(long long domid)
{
	char *tty = wait_for_tty(domid);
	int pty, rc;

	if (!tty)
		return xl_fail("domain %lld has no console in the store; do xenstored and xenconsoled run?", domid);
	pty = pty_open(tty);
	if (pty < 0) {
		rc = xl_fail("%s: cannot open the console: %s; does xenconsoled run?", tty, strerror(errno));
		free(tty);
		return rc;
	}
	free(tty);
	if (isatty(STDIN_FILENO))
		make_raw();
	rc = relay_on(pty, domid);
	restore_terminal();
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
