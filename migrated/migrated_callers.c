/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * migrated_callers.c - who calls from the network: the listening sockets, the 32 octets a connection begins with, and who is let in.
 *
 * Nobody has shown a certificate yet, so everything here is bounded, by address too (fair_slots.h).
 */
#include "config.h"
#include "migrated/migrated.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/migration_net.h"
#include "lib/paths.h"

#define DEFAULT_PORT 8002
#define STRANGERS_MAX 8u             /* workers whose peer has not shown a certificate yet */
#define GREETINGS_MAX 64u            /* connections that have not sent their 32 octets yet */
#define ADDRESS_MAX (JOBS_MAX - 4u)  /* incoming jobs of one address */
#define GREETING_MS 5000

struct greeting {
	int fd;
	uint8_t raw[STREAM_PREAMBLE_BYTES];
	size_t have;
	struct fair_caller caller;
	uint64_t since_ns;
	qb_loop_timer_handle timer;
};

static struct {
	qb_loop_t *loop;
	struct job **job;
	int port;
	struct greeting greeting[GREETINGS_MAX];
	struct fair_budget budget;       /* for workers whose peers turn out to be nobody */
} callers;

/* Once a second: who calls without end does not fill the log as well. */
static void refused(void)
{
	static uint64_t told_ns;
	static unsigned count;
	uint64_t now = monotonic_ns();

	count++;
	if (now - told_ns < 1000 * NS_PER_MS)
		return;
	log_warn("migration connections are refused (%u): their address has enough of them here already", count);
	told_ns = now;
	count = 0;
}

static void greeting_end(struct greeting *g)
{
	qb_loop_poll_del(callers.loop, g->fd);
	qb_loop_timer_del(callers.loop, g->timer);
	close(g->fd);
	g->fd = -1;
}

static void greeting_timeout(void *arg)
{
	struct greeting *g = arg;

	g->timer = 0;
	greeting_end(g);
}

static void route_further(int fd, const uint8_t *token)
{
	char hex[2 * STREAM_TOKEN_BYTES + 1];
	json_t *obj = json_pack("{s:s}", "op", "connection");

	for (unsigned i = 0; i < STREAM_TOKEN_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", token[i]);
	for (int i = 0; i < JOBS_MAX; i++)
		if (callers.job[i] && callers.job[i]->token[0] && strcmp(callers.job[i]->token, hex) == 0) {
			msg_send(callers.job[i]->control, obj, &fd, 1);
			break;
		}
	json_decref(obj);
}

/*
 * Is there a place for one more worker whose peer has shown nothing yet?  The one that the fairest would have go makes it; and a node that
 * has shown a certificate, or many who have, leave some of the jobs to the others.
 */
static bool admit_stranger(const struct fair_caller *who)
{
	struct fair_slot slot[JOBS_MAX], all[JOBS_MAX];
	struct job *stranger[JOBS_MAX];
	unsigned n = 0;
	int victim;

	for (int i = 0; i < JOBS_MAX; i++) {
		struct job *j = callers.job[i];

		all[i] = (struct fair_slot){ .used = j && j->incoming, .who = j ? j->caller : *who };
		if (!j || !j->incoming || j->authenticated)
			continue;
		slot[n] = (struct fair_slot){ true, j->caller, j->since_ns };
		stranger[n++] = j;
	}
	if (fair_count(all, JOBS_MAX, who) >= ADDRESS_MAX)
		return false;
	if (!fair_spend(&callers.budget, who, monotonic_ns()))
		return false;
	if (n < STRANGERS_MAX)
		return true;
	victim = fair_victim(slot, n, who, false);
	if (victim < 0)
		return false;
	kill(stranger[victim]->pid, SIGKILL);
	job_free(stranger[victim]);
	return true;
}

void node_callers_known(const struct fair_caller *who)
{
	fair_refund(&callers.budget, who);
}

static void greeted(struct greeting *g)
{
	struct stream_preamble p;

	/* the descriptor leaves the loop before it leaves the process: epoll would go on watching it */
	qb_loop_poll_del(callers.loop, g->fd);
	if (stream_preamble_decode(g->raw, &p) < 0)
		log_debug("a connection to the migration port was none");
	else if (p.further)
		route_further(g->fd, p.token);
	else if (admit_stranger(&g->caller))
		job_incoming(g->fd, &g->caller);
	else
		refused();
	greeting_end(g);
}

static int32_t on_greeting(int32_t fd, int32_t revents, void *arg)
{
	struct greeting *g = arg;
	ssize_t r = read(fd, g->raw + g->have, sizeof(g->raw) - g->have);

	if (r > 0) {
		g->have += (size_t)r;
		if (g->have == sizeof(g->raw))
			greeted(g);
	} else if (r == 0 || (errno != EAGAIN && errno != EINTR)) {
		greeting_end(g);
	}
	return 0;
}

static struct fair_caller caller_of(const struct sockaddr_storage *from)
{
	struct sockaddr_in6 six;
	struct sockaddr_in four;

	if (from->ss_family == AF_INET6) {
		memcpy(&six, from, sizeof(six));
		return fair_caller_v6(six.sin6_addr.s6_addr);
	}
	memcpy(&four, from, sizeof(four));
	return fair_caller_v4((const uint8_t *)&four.sin_addr);
}

/* A free one, or somebody's who has more of them, or has had his for longer. */
static struct greeting *greeting_slot(const struct fair_caller *who)
{
	struct fair_slot slot[GREETINGS_MAX];
	int victim;

	for (unsigned i = 0; i < GREETINGS_MAX; i++) {
		if (callers.greeting[i].fd < 0)
			return &callers.greeting[i];
		slot[i] = (struct fair_slot){ true, callers.greeting[i].caller, callers.greeting[i].since_ns };
	}
	victim = fair_victim(slot, GREETINGS_MAX, who, true);
	if (victim < 0)
		return NULL;
	greeting_end(&callers.greeting[victim]);
	return &callers.greeting[victim];
}

static int32_t on_connection(int32_t listener, int32_t revents, void *arg)
{
	struct sockaddr_storage from = { .ss_family = AF_UNSPEC };
	socklen_t n = sizeof(from);
	int fd = accept4(listener, (struct sockaddr *)&from, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct fair_caller who = caller_of(&from);
	struct greeting *g = fd < 0 ? NULL : greeting_slot(&who);

	if (fd < 0)
		return 0;
	if (!g) {
		close(fd);
		return 0;
	}
	*g = (struct greeting){ .fd = fd, .caller = who, .since_ns = monotonic_ns() };
	qb_loop_poll_add(callers.loop, QB_LOOP_MED, fd, POLLIN, g, on_greeting);
	qb_loop_timer_add(callers.loop, QB_LOOP_LOW, GREETING_MS * NS_PER_MS, g, greeting_timeout, &g->timer);
	return 0;
}

/* --- the listening address ---------------------------------------------------------------------------------------------------------- */

static int bind_listener(const struct sockaddr_storage *sa, socklen_t n, bool own, struct err *err)
{
	int one = 1, fd = socket(sa->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), e, off = 0;

	if (fd < 0)
		return -errno;
	if (sa->ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	/* an IPv6 address that the node was just given may not be bound for a second or two, until nobody else claimed it */
	if (own)
		setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one));
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 || bind(fd, (const struct sockaddr *)sa, n) < 0 || listen(fd, 64) < 0) {
		e = errno;
		close(fd);
		return err_set(err, -e, "port %d: cannot listen: %s; see migration_port and migration_network in %s/haven.conf", callers.port,
			       strerror(e), path_conf());
	}
	return fd;
}

static int open_on(const struct migration_addr *address, struct err *err)
{
	static const struct migration_addr any6 = { .family = AF_INET6 }, any4 = { .family = AF_INET };
	struct sockaddr_storage sa;
	socklen_t n = migration_net_sockaddr(address ? address : &any6, callers.port, &sa);
	int fd = bind_listener(&sa, n, address && address->own, err);

	if (address || fd != -EAFNOSUPPORT)
		return fd;
	n = migration_net_sockaddr(&any4, callers.port, &sa);
	return bind_listener(&sa, n, false, err);
}

int node_callers_init(qb_loop_t *loop, struct job **jobs, const struct conf *conf, int *ret_port, struct err *err)
{
	struct migration_net net;
	int rc = migration_net_own(conf, &net, err);

	callers.loop = loop;
	callers.job = jobs;
	for (unsigned i = 0; i < GREETINGS_MAX; i++)
		callers.greeting[i].fd = -1;
	*ret_port = callers.port = (int)conf_get_int(conf, "migration_port", DEFAULT_PORT);
	if (rc == 0 && (callers.port < 1 || callers.port > 65535))
		rc = err_set(err, -EINVAL, "%s/haven.conf: migration_port must be 1 to 65535", path_conf());
	if (rc == 0 && *net.missing)
		log_warn("migration_network %s: this node has no address in it; it is not listened on", net.missing);
	for (unsigned i = 0; rc == 0 && i < (net.n ? net.n : 1); i++) {
		int fd = open_on(net.n ? &net.address[i] : NULL, err);

		if (fd < 0)
			rc = fd;
		else if (qb_loop_poll_add(callers.loop, QB_LOOP_MED, fd, POLLIN, NULL, on_connection))
			rc = err_set(err, -ENOMEM, "out of memory");
	}
	return rc;
}
