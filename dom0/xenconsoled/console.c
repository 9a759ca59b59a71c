/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A console: packets of the domain's channel to log and pty, keystrokes of the pty to the channel.
 *
 * The domain never waits for a reader: what a pty does not take is kept up to CONSOLE_BACKLOG octets, the oldest give way, so
 * who opens the console late sees the end of what was said. A domain that floods is slowed to CONSOLE_RATE: its channel is not
 * read until the next refill, and its own ring fills.
 *
 *	attached --detach--> lingering --read empty, or CONSOLE_LINGER_MS--> ended
 *	lingering --attach (the domain rebooted under its domid)--> attached, the same pty
 */
#include "dom0/xenconsoled/console.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "lib/log.h"

#define PACKETS_A_TURN 32

static int32_t master_ready(int32_t fd, int32_t revents, void *data);
static int32_t channel_ready(int32_t fd, int32_t revents, void *data);

/* ---- what is polled ---- */

/* Between two channels (hypervisord is away) what is typed stays in the pty; a domain that is gone hears nothing any more. */
static bool typing_heard(const struct console *c)
{
	return !c->input_len && (c->channel >= 0 || c->lingering);
}

static void polls_set(struct console *c)
{
	qb_loop_poll_mod(c->loop, QB_LOOP_MED, c->master,
			 (typing_heard(c) ? POLLIN : 0) | (c->backlog_len ? POLLOUT : 0), c, master_ready);
	if (c->channel >= 0)
		qb_loop_poll_mod(c->loop, QB_LOOP_MED, c->channel,
				 (c->throttled ? 0 : POLLIN) | (c->input_len ? POLLOUT : 0), c, channel_ready);
}

static void channel_close(struct console *c)
{
	if (c->channel < 0)
		return;
	qb_loop_poll_del(c->loop, c->channel);
	close(c->channel);
	c->channel = -1;
}

/* ---- domain to pty ---- */

static void backlog_add(struct console *c, const char *data, size_t len)
{
	size_t drop = c->backlog_len + len > CONSOLE_BACKLOG ? c->backlog_len + len - CONSOLE_BACKLOG : 0, i;

	c->backlog_pos = (c->backlog_pos + drop) % CONSOLE_BACKLOG;
	c->backlog_len -= drop;
	for (i = 0; i < len; i++)
		c->backlog[(c->backlog_pos + c->backlog_len + i) % CONSOLE_BACKLOG] = data[i];
	c->backlog_len += len;
}

static void backlog_flush(struct console *c)
{
	while (c->backlog_len) {
		size_t n = CONSOLE_BACKLOG - c->backlog_pos;
		ssize_t r = write(c->master, c->backlog + c->backlog_pos, n > c->backlog_len ? c->backlog_len : n);

		if (r <= 0)
			return;
		c->backlog_pos = (c->backlog_pos + (size_t)r) % CONSOLE_BACKLOG;
		c->backlog_len -= (size_t)r;
	}
}

static void timer_arm(struct console *c);

static void timer_fired(void *data)
{
	struct console *c = data;
	int unread = 0;

	c->timer_armed = false;
	c->budget = CONSOLE_RATE / (1000 / CONSOLE_REFILL_MS);
	c->throttled = false;
	backlog_flush(c);
	if (c->lingering) {
		(void)ioctl(c->slave, FIONREAD, &unread);
		c->linger_left_ms -= c->linger_left_ms > CONSOLE_REFILL_MS ? CONSOLE_REFILL_MS : c->linger_left_ms;
		if ((!c->backlog_len && !unread) || !c->linger_left_ms) {
			c->ended(c, c->arg);
			return;
		}
		timer_arm(c);
	}
	polls_set(c);
}

static void timer_arm(struct console *c)
{
	if (c->timer_armed)
		return;
	c->timer_armed = qb_loop_timer_add(c->loop, QB_LOOP_LOW, CONSOLE_REFILL_MS * QB_TIME_NS_IN_MSEC, c, timer_fired,
					   &c->timer) == 0;
}

/* 1: one taken; 0: there is none; -1: the channel has ended. */
static int packet_take(struct console *c)
{
	char packet[CONSOLE_PACKET_MAX];
	ssize_t r = recv(c->channel, packet, sizeof(packet), MSG_DONTWAIT | MSG_TRUNC);

	if (r < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (r == 0 || r > (ssize_t)sizeof(packet))
		return -1;
	console_log_write(&c->log, packet, (size_t)r);
	backlog_add(c, packet, (size_t)r);
	c->budget -= c->budget > (size_t)r ? (size_t)r : c->budget;
	return 1;
}

static void input_send(struct console *c)
{
	if (!c->input_len || c->channel < 0)
		return;
	if (send(c->channel, c->input, c->input_len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || (errno != EAGAIN && errno != EINTR))
		c->input_len = 0;
}

static int32_t channel_ready(int32_t fd, int32_t revents, void *data)
{
	struct console *c = data;
	int turn, r = 1;

	if (revents & POLLOUT)
		input_send(c);
	for (turn = 0; r > 0 && (revents & POLLIN) && c->budget && turn < PACKETS_A_TURN; turn++)
		r = packet_take(c);
	if (!c->budget) {
		c->throttled = true;
		timer_arm(c);
	}
	backlog_flush(c);
	if (r < 0 || (!(revents & POLLIN) && (revents & (POLLHUP | POLLERR))))
		channel_close(c);
	polls_set(c);
	return 0;
}

/* ---- pty to domain ---- */

static int32_t master_ready(int32_t fd, int32_t revents, void *data)
{
	struct console *c = data;
	ssize_t r;

	if (revents & POLLOUT)
		backlog_flush(c);
	if ((revents & POLLIN) && typing_heard(c)) {
		r = read(c->master, c->input, sizeof(c->input));
		c->input_len = r > 0 && !c->lingering ? (size_t)r : 0;
		input_send(c);
	}
	polls_set(c);
	return 0;
}

/* ---- its life ---- */

/* A raw pty: the guest's own tty does echo and line editing. */
static int pty_open(struct console *c, struct err *err)
{
	struct termios t;
	struct winsize size = { .ws_row = 24, .ws_col = 80 };

	c->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (c->master < 0 || grantpt(c->master) < 0 || unlockpt(c->master) < 0 || ptsname_r(c->master, c->tty, sizeof(c->tty)))
		return err_set(err, -errno, "no pty for domain %u: %s; is devpts mounted at /dev/pts?", c->domid, strerror(errno));
	c->slave = open(c->tty, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (c->slave < 0 || tcgetattr(c->slave, &t) < 0)
		return err_set(err, -errno, "%s: %s", c->tty, strerror(errno));
	cfmakeraw(&t);
	if (tcsetattr(c->slave, TCSANOW, &t) < 0 || fcntl(c->master, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return err_set(err, -errno, "%s: %s", c->tty, strerror(errno));
	(void)ioctl(c->slave, TIOCSWINSZ, &size);
	return 0;
}

int console_new(qb_loop_t *loop, uint32_t domid, const char *name, int log_dir, struct console **ret, struct err *err)
{
	struct console *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_set(err, -ENOMEM, "domain %u: no memory for its console", domid);
	c->loop = loop;
	c->domid = domid;
	c->channel = c->master = c->slave = c->log.fd = -1;
	c->budget = CONSOLE_RATE / (1000 / CONSOLE_REFILL_MS);
	snprintf(c->name, sizeof(c->name), "%s", name);
	rc = pty_open(c, err);
	if (rc == 0 && qb_loop_poll_add(loop, QB_LOOP_MED, c->master, POLLIN, c, master_ready) < 0)
		rc = err_set(err, -ENOMEM, "domain %u: its pty could not be polled", domid);
	if (rc < 0) {
		console_free(c);
		return rc;
	}
	rc = log_dir < 0 ? 0 : console_log_open(&c->log, log_dir, name);
	if (rc < 0)
		log_warn("the log of %s's console cannot be opened: %s", name, strerror(-rc));
	*ret = c;
	return 0;
}

void console_free(struct console *c)
{
	if (!c)
		return;
	channel_close(c);
	if (c->timer_armed)
		qb_loop_timer_del(c->loop, c->timer);
	if (c->master >= 0) {
		qb_loop_poll_del(c->loop, c->master);
		close(c->master);
	}
	if (c->slave >= 0)
		close(c->slave);
	console_log_close(&c->log);
	free(c);
}

/* What the domain said into it is heard; what it would say from here on fails there, and waits for the next channel. */
static void channel_drain(struct console *c)
{
	if (c->channel < 0)
		return;
	shutdown(c->channel, SHUT_RD);
	while (packet_take(c) > 0)
		;
	channel_close(c);
	backlog_flush(c);
}

int console_attach(struct console *c, int fd)
{
	channel_drain(c);
	c->lingering = false;
	if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 || qb_loop_poll_add(c->loop, QB_LOOP_MED, fd, POLLIN, c, channel_ready) < 0) {
		close(fd);
		return -EINVAL;
	}
	c->channel = fd;
	polls_set(c);
	return 0;
}

void console_detach(struct console *c)
{
	channel_drain(c);
	c->input_len = 0;
	c->lingering = true;
	c->linger_left_ms = CONSOLE_LINGER_MS;
	timer_arm(c);
	polls_set(c);
}
