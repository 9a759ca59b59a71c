/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tls_link.c - see tls_link.h. */
#include "migrated/tls_link.h"

#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "lib/clock.h"

#define TICK_MS 200
#define LATE_MS 100               /* less than that is a busy scheduler's */
#define GATHER_MAX 4096
#define NS_PER_MS 1000000ull
#define SILENCE_DEFAULT_NS (10000 * NS_PER_MS)

uint64_t link_now_ns(void) { return monotonic_ns(); }

void link_init(struct tls_link *l)
{
	*l = (struct tls_link){ .fd = -1, .wake_fd = -1, .silence_ns = SILENCE_DEFAULT_NS, .records_a_key = LINK_RECORDS_A_KEY };
}

int link_adopt(struct tls_link *l, int fd)
{
	unsigned user_timeout_ms = (unsigned)(l->silence_ns / NS_PER_MS);
	int one = 1, flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	/* small records (READY, GO) must not wait for company; unanswered data must end in an error */
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms)) < 0)
		return -errno;
	l->fd = fd;
	return 0;
}

/* --- connecting -------------------------------------------------------------------------------------------------------- */

static int connect_one(const struct addrinfo *ai, int timeout_ms)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), e = 0, r;
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	socklen_t n = sizeof(e);

	if (fd < 0)
		return -errno;
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
		return fd;
	if (errno != EINPROGRESS) {
		e = errno;
		goto fail;
	}
	do
		r = poll(&p, 1, timeout_ms);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		e = ETIMEDOUT;
	else if (r < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) < 0)
		e = errno;
	if (e == 0)
		return fd;
fail:
	close(fd);
	return -e;
}

int link_resolve(const char *address, char (*ret)[LINK_ADDRESS_MAX], int max, struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	int r = getaddrinfo(address, NULL, &hints, &list), n = 0;

	if (r != 0)
		return err_set(err, -ENOENT, "%s: no such host (%s); check the node's migration address", address, gai_strerror(r));
	for (struct addrinfo *ai = list; ai && n < max; ai = ai->ai_next)
		if (getnameinfo(ai->ai_addr, ai->ai_addrlen, ret[n], LINK_ADDRESS_MAX, NULL, 0, NI_NUMERICHOST) == 0)
			n++;
	freeaddrinfo(list);
	return n;
}

int link_connect(struct tls_link *l, const char *address, int port, int timeout_ms, struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
	char service[16];
	int r, rc = -ENOENT;

	snprintf(service, sizeof(service), "%d", port);
	r = getaddrinfo(address, service, &hints, &list);
	if (r != 0)
		return err_set(err, -ENOENT, "%s: no such host (%s); check the node's migration address", address, gai_strerror(r));
	for (struct addrinfo *ai = list; ai; ai = ai->ai_next) {
		rc = connect_one(ai, timeout_ms);
		if (rc >= 0)
			break;
	}
	freeaddrinfo(list);
	if (rc < 0)
		return err_set(err, rc, "%s port %d: cannot connect: %s; is migrated running there and the port open?", address, port,
			       strerror(-rc));
	r = link_adopt(l, rc);
	if (r < 0) {
		close(rc);
		return err_set(err, r, "%s port %d: %s", address, port, strerror(-r));
	}
	return 0;
}

/* --- waiting ----------------------------------------------------------------------------------------------------------- */

int link_poll(struct pollfd *p, unsigned n, int ms, uint64_t *deadline_ns)
{
	uint64_t due = link_now_ns() + (uint64_t)ms * NS_PER_MS, now;
	int r = poll(p, n, ms), e = errno;

	now = link_now_ns();
	if (now > due + LATE_MS * NS_PER_MS)
		*deadline_ns += now - due;
	errno = e;
	return r;
}

/* Waits for events on the socket until deadline_ns; runs the tick.  0, -ETIMEDOUT, or the tick's. */
static int link_wait(struct tls_link *l, short events, uint64_t deadline_ns)
{
	for (;;) {
		struct pollfd p[2] = { { .fd = l->fd, .events = events }, { .fd = l->wake_fd, .events = POLLIN } };
		uint64_t now = link_now_ns(), left_ms;
		int r, rc;

		if (now >= deadline_ns)
			return -ETIMEDOUT;
		left_ms = (deadline_ns - now) / NS_PER_MS + 1;
		r = link_poll(p, 2, left_ms < TICK_MS ? (int)left_ms : TICK_MS, &deadline_ns);
		if (r < 0 && errno != EINTR)
			return -errno;
		/* a drop now and then must not keep the tick off */
		if (l->tick && (r <= 0 || p[1].revents || now - l->ticked_ns >= TICK_MS * NS_PER_MS)) {
			l->ticked_ns = now;
			rc = l->tick(l->tick_arg, (events & POLLOUT) != 0);
			if (rc < 0)
				return rc;
		}
		if (r > 0 && p[0].revents)
			return 0;
	}
}

static int link_broke(struct tls_link *l, int rc)
{
	l->broken = true;
	l->ended = rc != -ETIMEDOUT && rc != -EHOSTUNREACH && rc != -ENETUNREACH;
	return rc;
}

/* Silence breaks a connection; a tick's refusal does not. */
static int link_wait_or_break(struct tls_link *l, short events, uint64_t deadline_ns)
{
	int rc = link_wait(l, events, deadline_ns);

	return rc == -ETIMEDOUT ? link_broke(l, rc) : rc;
}

/* What a failed SSL call wants: 0 try again (after waiting), or the reason it cannot go on. */
static int link_retry(struct tls_link *l, int r, uint64_t deadline_ns)
{
	int e = errno;

	switch (SSL_get_error(l->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return link_wait_or_break(l, POLLIN, deadline_ns);
	case SSL_ERROR_WANT_WRITE:
		return link_wait_or_break(l, POLLOUT, deadline_ns);
	case SSL_ERROR_ZERO_RETURN:
		return link_broke(l, -ENODATA);
	case SSL_ERROR_SYSCALL:
		return link_broke(l, e ? -e : -ECONNRESET);
	default:
		/* OpenSSL 3 reports an end without close_notify as a protocol error of its own */
		if (ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
			return link_broke(l, -ECONNRESET);
		return link_broke(l, -EPROTO);
	}
}

/* --- TLS --------------------------------------------------------------------------------------------------------------- */

static int peer_name(struct tls_link *l)
{
	X509 *x = SSL_get0_peer_certificate(l->ssl);

	return x && X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, l->peer, sizeof(l->peer)) > 0 ? 0 : -EPROTO;
}

static int explain_handshake(struct tls_link *l, int rc, const char *want, struct err *err)
{
	long v = SSL_get_verify_result(l->ssl);
	const char *who = want ? want : "the peer";
	char buf[256];

	if (v == X509_V_ERR_HOSTNAME_MISMATCH)
		return err_set(err, -EACCES, "the node at that address is not %s: its certificate names another node; check the address", who);
	if (v == X509_V_ERR_CERT_REVOKED)
		return err_set(err, -EACCES, "%s: its certificate was revoked; issue a new one with haven cert issue", who);
	if (v != X509_V_OK)
		return err_set(err, -EACCES, "%s: its certificate is not one of this cluster's CA (%s); see haven cert", who,
			       X509_verify_cert_error_string(v));
	return err_set(err, rc, "%s: TLS handshake failed: %s", who, link_explain(l, rc, buf, sizeof(buf)));
}

int link_preamble(struct tls_link *l, const struct stream_preamble *pre, const char *to, struct err *err)
{
	uint8_t raw[STREAM_PREAMBLE_BYTES];

	stream_preamble_encode(raw, pre);
	/* a fresh socket's buffer takes 32 octets at once */
	return write(l->fd, raw, sizeof(raw)) == (ssize_t)sizeof(raw) ? 0 : err_set(err, -EIO, "%s: cannot send", to);
}

int link_handshake(struct tls_link *l, SSL_CTX *ctx, bool server, const char *want, struct err *err)
{
	uint64_t deadline = link_now_ns() + l->silence_ns;
	int rc = 0, r;

	l->ssl = SSL_new(ctx);
	if (!l->ssl || !SSL_set_fd(l->ssl, l->fd) || (want && !SSL_set1_host(l->ssl, want)))
		return err_set(err, -ENOMEM, "TLS: out of memory");
	l->records_left = l->records_a_key;
	if (server)
		SSL_set_accept_state(l->ssl);
	else
		SSL_set_connect_state(l->ssl);
	do {
		ERR_clear_error();
		errno = 0;
		r = SSL_do_handshake(l->ssl);
		if (r != 1)
			rc = link_retry(l, r, deadline);
	} while (r != 1 && rc == 0);
	if (rc < 0)
		return explain_handshake(l, rc, want, err);
	return peer_name(l) < 0 ? err_set(err, -EACCES, "the peer's certificate names no node; issue it with haven cert") : 0;
}

/* The peer's OpenSSL follows by itself, and updates its own sending key by its own count. */
static int link_count_records(struct tls_link *l, size_t written)
{
	uint64_t records = (written + SSL3_RT_MAX_PLAIN_LENGTH - 1) / SSL3_RT_MAX_PLAIN_LENGTH;

	if (records < l->records_left) {
		l->records_left -= records;
		return 0;
	}
	l->records_left = l->records_a_key;
	return SSL_key_update(l->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 ? 0 : link_broke(l, -EPROTO);
}

int link_write(struct tls_link *l, const void *p, size_t n)
{
	const uint8_t *at = p;
	int rc = 0;

	while (n > 0 && rc == 0) {
		size_t chunk = n < INT_MAX ? n : INT_MAX, done = 0;
		int r;

		ERR_clear_error();
		errno = 0;
		r = SSL_write_ex(l->ssl, at, chunk, &done);
		if (r == 1) {
			at += done;
			n -= done;
			l->bytes_out += done;
			rc = link_count_records(l, done);
		} else {
			rc = link_retry(l, r, link_now_ns() + l->silence_ns);
		}
	}
	return rc;
}

int link_read(struct tls_link *l, void *p, size_t n)
{
	uint8_t *at = p;
	int rc = 0;

	while (n > 0 && rc == 0) {
		size_t done = 0;
		int r;

		ERR_clear_error();
		errno = 0;
		r = SSL_read_ex(l->ssl, at, n, &done);
		if (r == 1) {
			at += done;
			n -= done;
			l->bytes_in += done;
		} else {
			rc = link_retry(l, r, link_now_ns() + l->silence_ns);
		}
	}
	return rc;
}

int link_read_cb(void *link, void *p, size_t n)
{
	return link_read(link, p, n);
}

int link_record(struct tls_link *l, uint16_t type, const void *body, uint32_t n)
{
	uint8_t gather[STREAM_HEADER_BYTES + GATHER_MAX];
	int rc;

	stream_header_encode(gather, type, n);
	if (n <= GATHER_MAX) {
		if (n)
			memcpy(gather + STREAM_HEADER_BYTES, body, n);
		return link_write(l, gather, STREAM_HEADER_BYTES + n);
	}
	rc = link_write(l, gather, STREAM_HEADER_BYTES);
	return rc < 0 ? rc : link_write(l, body, n);
}

bool link_readable(struct tls_link *l)
{
	struct pollfd p = { .fd = l->fd, .events = POLLIN };

	return SSL_has_pending(l->ssl) || poll(&p, 1, 0) > 0;
}

const char *link_explain(const struct tls_link *l, int rc, char *buf, size_t size)
{
	unsigned long e = ERR_peek_last_error();
	const char *reason;

	switch (rc) {
	case -ETIMEDOUT:
		snprintf(buf, size, "nothing heard for %llu s", (unsigned long long)(l->silence_ns / 1000000000ull));
		break;
	case -ENODATA:
		snprintf(buf, size, "the other side closed the connection");
		break;
	case -ECONNRESET:
	case -EPIPE:
		snprintf(buf, size, "the connection broke off");
		break;
	case -EPROTO:
		reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_reason_error_string(e) : NULL;
		if (reason && strstr(reason, "alert"))
			snprintf(buf, size, "the other side refuses this node's certificate or TLS version (%s); see haven cert show", reason);
		else
			snprintf(buf, size, "%s", reason ? reason : "the other side does not speak this protocol");
		break;
	default:
		snprintf(buf, size, "%s", strerror(rc < 0 ? -rc : rc));
	}
	return buf;
}

void link_close(struct tls_link *l, bool graceful)
{
	if (l->ssl) {
		if (graceful && SSL_is_init_finished(l->ssl)) {
			ERR_clear_error();
			SSL_shutdown(l->ssl);
		}
		SSL_free(l->ssl);
		l->ssl = NULL;
	}
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

void link_reset(struct tls_link *l)
{
	link_close(l, false);
	l->broken = l->ended = false;
	l->peer[0] = '\0';
}
