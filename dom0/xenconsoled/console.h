/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One domain's console: channel, pty, log, backlog. See console.c. */
#ifndef HAVEN_XENCONSOLED_CONSOLE_H
#define HAVEN_XENCONSOLED_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <qb/qbloop.h>

#include "dom0/xenconsoled/console_log.h"
#include "lib/err.h"

#define CONSOLE_PACKET_MAX 2048
#define CONSOLE_BACKLOG (64u * 1024)		/* octets kept for a pty that nobody reads */
#define CONSOLE_RATE (4u * 1024 * 1024)		/* octets a second taken from one domain */
#define CONSOLE_REFILL_MS 100
#define CONSOLE_LINGER_MS 2000			/* after detach, for whoever still reads */

struct console {
	struct console *next;
	qb_loop_t *loop;
	uint32_t domid;
	char name[256];
	int channel;			/* -1: none */
	int master, slave;		/* the slave is held open, so that a pty without a reader stays one */
	char tty[64];
	struct console_log log;
	char backlog[CONSOLE_BACKLOG];	/* circular: domain to pty */
	size_t backlog_pos, backlog_len;
	char input[CONSOLE_PACKET_MAX];	/* pty to domain: one packet that did not go yet */
	size_t input_len;
	size_t budget;			/* octets it may still send before the next refill */
	bool throttled, lingering;
	unsigned linger_left_ms;
	qb_loop_timer_handle timer;
	bool timer_armed;
	void (*ended)(struct console *c, void *arg);	/* lingered long enough: the owner frees it */
	void *arg;
};

/* A pty and a log in the folder log_dir (-1: none), no channel yet. 0 or -errno with err. */
int console_new(qb_loop_t *loop, uint32_t domid, const char *name, int log_dir, struct console **ret, struct err *err);
void console_free(struct console *c);
/* The domain's channel: a SEQPACKET socket, the console's from here on, also on failure. Replaces the one before. */
int console_attach(struct console *c, int fd);
/* No more from this domain. `ended` is called once what it last wrote has been read, or the linger time is over. */
void console_detach(struct console *c);

#endif
