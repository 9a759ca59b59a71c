/* SPDX-License-Identifier: GPL-2.0-or-later */
/* octet_link.c - see octet_link.h. */
#include "tests/fuzz/octet_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrated/tls_link.h"

#define NS_PER_CALL 100000ull
#define ALIVE_NS 20000000ull         /* so much passes from one to the next */
#define ENDLESS_NS (900 * 1000000000ull)
#define WAITED_NS 100000000ull       /* of who waits and has nothing coming */

static struct {
	const uint8_t *at, *end[OCTET_CONNECTIONS];
	unsigned which;                  /* connection that the octets are of */
	uint64_t now;
	unsigned sent[64];
	bool endless;
	unsigned alive;                  /* octets of ALIVE behind the end */
	unsigned asked, patience;        /* how often link_readable() was called since the last octet either way; when it says yes */
	SSL *ssl;
} o;

void octet_link_begin(const uint8_t *data, size_t size, unsigned patience, bool endless, void *ssl)
{
	const uint8_t *all = data + size;

	memset(&o, 0, sizeof(o));
	o.now = 1000000000;
	o.ssl = ssl;
	o.patience = patience;
	o.endless = endless;
	o.at = data + (size < 4 ? size : 4);
	for (unsigned i = 0; i < OCTET_CONNECTIONS; i++) {
		const uint8_t *from = i ? o.end[i - 1] : o.at;
		size_t n = i < 2 && size >= 4 ? (size_t)(data[2 * i] | data[2 * i + 1] << 8) : (size_t)(all - from);

		o.end[i] = n < (size_t)(all - from) ? from + n : all;
	}
}

int octet_link_dial(void)
{
	if (o.which + 1 >= OCTET_CONNECTIONS || o.end[o.which] == o.end[OCTET_CONNECTIONS - 1])
		return -ECONNREFUSED;
	o.at = o.end[o.which++];
	return 1000;
}

unsigned octet_link_sent(uint16_t type)
{
	return type < 64 ? o.sent[type] : 0;
}

/* The code under test sleeps between two tries. */
int usleep(useconds_t us)
{
	o.now += us * 1000ull;
	return 0;
}

uint64_t link_now_ns(void)
{
	o.now += NS_PER_CALL;
	return o.now;
}

int link_poll(struct pollfd *p, unsigned n, int ms, uint64_t *deadline_ns)
{
	return poll(p, n, ms);
}

void link_init(struct tls_link *l)
{
	*l = (struct tls_link){ .fd = -1, .wake_fd = -1, .silence_ns = 3000000000ull };
}

int link_adopt(struct tls_link *l, int fd)
{
	static int unconnected = -1;     /* takes socket options, and poll() always has something to say of it */

	if (unconnected < 0)
		unconnected = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	l->fd = unconnected;
	return 0;
}

int link_resolve(const char *address, char (*ret)[LINK_ADDRESS_MAX], int max, struct err *err)
{
	snprintf(ret[0], LINK_ADDRESS_MAX, "192.0.2.1");
	return 1;
}

int link_connect(struct tls_link *l, const char *address, int port, int timeout_ms, struct err *err)
{
	return link_adopt(l, -1);
}

int link_preamble(struct tls_link *l, const struct stream_preamble *pre, const char *to, struct err *err)
{
	return 0;
}

int link_handshake(struct tls_link *l, SSL_CTX *ctx, bool server, const char *want, struct err *err)
{
	l->ssl = o.ssl;
	snprintf(l->peer, sizeof(l->peer), "n2");
	return 0;
}

int link_write(struct tls_link *l, const void *p, size_t n)
{
	const uint8_t *h = p;

	if (n >= STREAM_HEADER_BYTES && h[0] < 64)
		o.sent[h[0]]++;
	l->bytes_out += n;
	o.asked = 0;
	return 0;
}

int link_record(struct tls_link *l, uint16_t type, const void *body, uint32_t n)
{
	if (type < 64)
		o.sent[type]++;
	l->bytes_out += STREAM_HEADER_BYTES + n;
	o.asked = 0;
	return 0;
}

/* Behind the end, and in the middle of a record that the end has cut. */
static int read_alive(struct tls_link *l, uint8_t *p, size_t n)
{
	static const uint8_t alive[STREAM_HEADER_BYTES + 8] = { STREAM_ALIVE & 0xff, STREAM_ALIVE >> 8, 0, 0, 8 };

	for (size_t i = 0; i < n; i++)
		p[i] = alive[o.alive++ % sizeof(alive)];
	l->bytes_in += n;
	o.now += ALIVE_NS;
	if (o.now > ENDLESS_NS) {
		fprintf(stderr, "a target that only says that it lives is listened to for ever\n");
		abort();
	}
	return 0;
}

int link_read(struct tls_link *l, void *p, size_t n)
{
	if (o.endless && (size_t)(o.end[o.which] - o.at) < n)
		return read_alive(l, p, n);
	if ((size_t)(o.end[o.which] - o.at) < n) {
		o.now += WAITED_NS;
		l->broken = l->ended = true;
		return -ECONNRESET;
	}
	memcpy(p, o.at, n);
	o.at += n;
	l->bytes_in += n;
	o.asked = 0;
	return 0;
}

int link_read_cb(void *link, void *p, size_t n) { return link_read(link, p, n); }

/* The other side answers what it got a little later.  The end is something to read, too; who asks for ever sees time pass. */
bool link_readable(struct tls_link *l)
{
	o.now += NS_PER_CALL;
	return o.asked++ >= o.patience;
}

const char *link_explain(const struct tls_link *l, int rc, char *buf, size_t size)
{
	snprintf(buf, size, "%s", strerror(rc < 0 ? -rc : rc));
	return buf;
}

void link_reset(struct tls_link *l)
{
	link_close(l, false);
	l->broken = l->ended = false;
	l->peer[0] = '\0';
}

void link_close(struct tls_link *l, bool graceful)
{
	l->ssl = NULL;
	l->fd = -1;
}
