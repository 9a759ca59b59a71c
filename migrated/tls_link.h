/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tls_link.h - one TLS connection of a move: blocking calls over a non-blocking socket, each with a bound on silence, and a tick
 * that runs while they wait (heartbeats, progress, cancel).  A link is used by one thread at a time.
 */
#ifndef MIGRATED_TLS_LINK_H
#define MIGRATED_TLS_LINK_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/ssl.h>
#include "lib/err.h"
#include "migrated/stream.h"

#define LINK_NAME_MAX 64
#define LINK_ADDRESS_MAX 64
/* AES-GCM keeps its margin for 2^24.5 full records of one key (RFC 8446, 5.5): 128 GiB go under one of ours. */
#define LINK_RECORDS_A_KEY (1ull << 23)

struct tls_link {
	int fd;                       /* owned; -1: none */
	SSL *ssl;
	char peer[LINK_NAME_MAX];     /* node name in the peer's certificate, after the handshake */
	uint64_t silence_ns;          /* longest wait without an octet of progress */
	/* Called every 200 ms, however little there was to wait, and when wake_fd (or -1) has something; non-zero (-errno) ends the wait with it. */
	int (*tick)(void *arg, bool writing);
	void *tick_arg;
	int wake_fd;
	uint64_t ticked_ns;
	uint64_t bytes_out, bytes_in;
	uint64_t records_left;        /* that may go out under the present key; then KeyUpdate */
	uint64_t records_a_key;       /* LINK_RECORDS_A_KEY; tests set less */
	bool broken;                  /* a call failed for the connection's sake: another one may do better */
	bool ended;                   /* so it did: the other side or something on the way ended it, it did not just fall silent */
};

void link_init(struct tls_link *l);
/* TCP to address (name or number) and port; bounded by timeout_ms.  0 or -errno with err naming address and port. */
int link_connect(struct tls_link *l, const char *address, int port, int timeout_ms, struct err *err);
/* The numeric addresses of a name, up to max of them: how many, or -ENOENT with err. */
int link_resolve(const char *address, char (*ret)[LINK_ADDRESS_MAX], int max, struct err *err);
/* Options of every socket of a move: non-blocking, no delay, keepalive. */
int link_adopt(struct tls_link *l, int fd);
/* The 32 octets that route a fresh connection, before TLS; to: the target, for err.  0, or -EIO with err. */
int link_preamble(struct tls_link *l, const struct stream_preamble *pre, const char *to, struct err *err);
/*
 * TLS handshake.  want: the node name the peer's certificate must have (NULL: any of this CA).  As client, TLS 1.3 lets this
 * succeed before the server has judged our certificate: a refusal shows at the first read, see link_explain().
 */
int link_handshake(struct tls_link *l, SSL_CTX *ctx, bool server, const char *want, struct err *err);
/* 0; -ETIMEDOUT (silence); -ENODATA (closed properly); -ECONNRESET (ended without close_notify); -EPROTO (TLS error); tick's. */
int link_write(struct tls_link *l, const void *p, size_t n);
int link_read(struct tls_link *l, void *p, size_t n);
int link_read_cb(void *link, void *p, size_t n);      /* a stream_read_fn */
/* A whole record in one write; bodies up to 4 KiB are gathered with their header. */
int link_record(struct tls_link *l, uint16_t type, const void *body, uint32_t n);
/* Is there something to read at once? */
bool link_readable(struct tls_link *l);
/*
 * poll(2); *deadline_ns gets later by as much as this process woke too late.  Who stood still himself (a host whose hypervisor took its processors
 * away, a process that was stopped) has not heard that the other side is silent.
 */
int link_poll(struct pollfd *p, unsigned n, int ms, uint64_t *deadline_ns);
/* One line for a person: what the failed call's rc means on this link. */
const char *link_explain(const struct tls_link *l, int rc, char *buf, size_t size);
/* Closes, for another connection to take its place: tick, silence and totals stay. */
void link_reset(struct tls_link *l);
/* close_notify when graceful (best effort, does not wait), then closes.  Idempotent. */
void link_close(struct tls_link *l, bool graceful);
uint64_t link_now_ns(void);                           /* CLOCK_MONOTONIC */

#endif
