/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Corosync's libraries on libqb's loop; see corosync_link.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <corosync/cmap.h>
#include <corosync/cpg.h>
#include <corosync/quorum.h>
#include <qb/qbutil.h>

#include "ha-agent/corosync_link.h"
#include "lib/buf.h"
#include "lib/log.h"

#define GROUP "haven"
#define RETRY_NS (500 * QB_TIME_NS_IN_MSEC)
#define SEND_AGAIN_NS (5 * QB_TIME_NS_IN_MSEC)
#define PIECE_MAX (256u * 1024)		/* CPG carries about 1 MiB at a time; a report of many domains may be longer */
#define PIECES_MAX 64
#define PIECE_MAGIC 0x4e564148u		/* "HAVN" */

struct piece { struct piece *next; uint64_t view; size_t len; uint8_t data[]; };
struct partial { uint32_t node, pid; uint32_t expect; struct buf text; };

struct corolink {
	qb_loop_t *loop;
	const struct corolink_ops *ops;
	void *arg;
	bool alone;
	cpg_handle_t cpg; int cpg_fd;
	quorum_handle_t quorum; int quorum_fd;
	bool up, have_ring, have_group;
	struct cpg_ring_id ring;
	struct cpg_address group[CPG_MEMBERS_MAX]; int n_group;
	struct quorum_ring_id q_ring; bool q_have, q_quorate;
	uint32_t q_members[CPG_MEMBERS_MAX]; int n_q;
	struct corolink_node nodes[COROLINK_NODES]; int n_nodes;
	uint32_t me;
	uint64_t view;
	struct piece *head, **tail;
	struct partial partial[COROLINK_NODES]; int n_partial;
	qb_loop_timer_handle retry, resend;
};

static void link_connect(void *data);
static void link_flush(void *data);

/* --- nodes --------------------------------------------------------------------------------------------------------- */

static void link_read_string(cmap_handle_t h, const char *key, char *ret, size_t size)
{
	char *value = NULL;

	if (cmap_get_string(h, key, &value) == CS_OK && value)
		snprintf(ret, size, "%s", value);
	free(value);
}

static int link_read_nodes(struct corolink *c)
{
	char key[CMAP_KEYNAME_MAXLEN + 1], cluster[128] = "";
	cmap_handle_t h;

	if (cmap_initialize(&h) != CS_OK)
		return -ENOTCONN;
	c->n_nodes = 0;
	for (int i = 0; i < COROLINK_NODES * 2 && c->n_nodes < COROLINK_NODES; i++) {
		struct corolink_node *n = &c->nodes[c->n_nodes];

		memset(n, 0, sizeof(*n));
		snprintf(key, sizeof(key), "nodelist.node.%d.nodeid", i);
		if (cmap_get_uint32(h, key, &n->id) != CS_OK)
			continue;
		snprintf(key, sizeof(key), "nodelist.node.%d.ring0_addr", i);
		link_read_string(h, key, n->address, sizeof(n->address));
		snprintf(key, sizeof(key), "nodelist.node.%d.name", i);
		link_read_string(h, key, n->name, sizeof(n->name));
		if (!*n->name)
			memcpy(n->name, n->address, sizeof(n->name));
		c->n_nodes++;
	}
	link_read_string(h, "totem.cluster_name", cluster, sizeof(cluster));
	cmap_finalize(h);
	if (cpg_local_get(c->cpg, &c->me) != CS_OK || !c->n_nodes)
		return -ENODATA;
	c->ops->nodes(c->arg, c->me, c->nodes, c->n_nodes, cluster);
	return 0;
}

/* --- membership ---------------------------------------------------------------------------------------------------- */

static uint64_t link_hash(uint64_t h, uint64_t v)
{
	for (int i = 0; i < 8; i++, v >>= 8)
		h = (h ^ (v & 0xff)) * UINT64_C(0x100000001b3);	/* FNV-1a */
	return h;
}

static int link_by_node(const void *a, const void *b)
{
	const struct cpg_address *x = a, *y = b;

	return x->nodeid != y->nodeid ? (x->nodeid < y->nodeid ? -1 : 1) : x->pid < y->pid ? -1 : x->pid > y->pid;
}

static bool link_in_group(const struct corolink *c, uint32_t node)
{
	for (int i = 0; i < c->n_group; i++)
		if (c->group[i].nodeid == node)
			return true;
	return false;
}

/*
 * The group may decide when Corosync is quorate on this very ring and the group is the whole of that membership, or by
 * itself a majority of the configured nodes: two groups of different members can then never both decide.
 */
static void link_tell_quorum(struct corolink *c)
{
	bool same_ring = c->q_have && c->have_ring && c->q_ring.nodeid == c->ring.nodeid && c->q_ring.seq == c->ring.seq;
	bool whole = true;

	for (int i = 0; i < c->n_q; i++)
		whole = whole && link_in_group(c, c->q_members[i]);
	if (!c->view)
		return;
	c->ops->quorum(c->arg, c->q_quorate && same_ring && (whole || 2 * c->n_group > c->n_nodes), !c->q_have || c->q_quorate);
}

static void link_drop_pieces(struct corolink *c)
{
	while (c->head) {
		struct piece *p = c->head;

		c->head = p->next;
		free(p);
	}
	c->tail = &c->head;
	for (int i = 0; i < c->n_partial; i++)
		buf_free(&c->partial[i].text);
	c->n_partial = 0;
}

static void link_new_view(struct corolink *c)
{
	uint32_t members[CPG_MEMBERS_MAX];
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	bool mine = false;

	if (!c->have_ring || !c->have_group)
		return;
	qsort(c->group, (size_t)c->n_group, sizeof(c->group[0]), link_by_node);
	h = link_hash(link_hash(h, c->ring.nodeid), c->ring.seq);
	for (int i = 0; i < c->n_group; i++) {
		h = link_hash(link_hash(h, c->group[i].nodeid), c->group[i].pid);
		members[i] = c->group[i].nodeid;
		mine = mine || (c->group[i].nodeid == c->me && c->group[i].pid == (uint32_t)getpid());
	}
	if (!mine || h == c->view)
		return;
	link_drop_pieces(c);
	c->view = h ? h : 1;
	c->ops->view(c->arg, c->view, members, c->n_group);
	link_tell_quorum(c);
}

static struct corolink *link_of(cpg_handle_t h)
{
	void *ctx = NULL;

	return cpg_context_get(h, &ctx) == CS_OK ? ctx : NULL;
}

static void link_on_group(cpg_handle_t h, const struct cpg_name *name, const struct cpg_address *members, size_t n,
			  const struct cpg_address *left, size_t n_left, const struct cpg_address *joined, size_t n_joined)
{
	struct corolink *c = link_of(h);

	if (!c || n > CPG_MEMBERS_MAX)
		return;
	memcpy(c->group, members, n * sizeof(*members));
	c->n_group = (int)n;
	c->have_group = true;
	link_new_view(c);
}

static void link_on_ring(cpg_handle_t h, struct cpg_ring_id ring, uint32_t n, const uint32_t *members)
{
	struct corolink *c = link_of(h);

	if (!c)
		return;
	c->ring = ring;
	c->have_ring = true;
	link_new_view(c);
}

static void link_on_quorum(quorum_handle_t h, uint32_t quorate, struct quorum_ring_id ring, uint32_t n, const uint32_t *members)
{
	const void *ctx = NULL;
	struct corolink *c;

	if (quorum_context_get(h, &ctx) != CS_OK || n > CPG_MEMBERS_MAX)
		return;
	memcpy(&c, &ctx, sizeof(c));
	c->q_have = true;
	c->q_quorate = quorate != 0;
	c->q_ring = ring;
	c->n_q = (int)n;
	memcpy(c->q_members, members, n * sizeof(*members));
	link_tell_quorum(c);
}

/* --- messages ------------------------------------------------------------------------------------------------------ */

static struct partial *link_partial(struct corolink *c, uint32_t node, uint32_t pid)
{
	struct partial *p;

	for (int i = 0; i < c->n_partial; i++)
		if (c->partial[i].node == node && c->partial[i].pid == pid)
			return &c->partial[i];
	if (c->n_partial == COROLINK_NODES)
		return NULL;
	p = &c->partial[c->n_partial++];
	*p = (struct partial){ .node = node, .pid = pid };
	buf_init(&p->text, (size_t)PIECE_MAX * PIECES_MAX + 1);
	return p;
}

/* A piece: u32 magic, u32 index, u32 of how many, bytes. */
static void link_on_message(cpg_handle_t h, const struct cpg_name *name, uint32_t node, uint32_t pid, void *msg, size_t len)
{
	struct corolink *c = link_of(h);
	struct reader r;
	uint32_t magic, index, count;
	struct partial *p;

	if (!c || !c->view)
		return;
	reader_init(&r, msg, len);
	magic = reader_u32(&r);
	index = reader_u32(&r);
	count = reader_u32(&r);
	p = link_partial(c, node, pid);
	if (!reader_ok(&r) || magic != PIECE_MAGIC || !count || count > PIECES_MAX || index >= count || !p)
		return;
	if (index == 0) {
		p->text.len = 0;
		p->expect = 0;
	}
	if (index != p->expect)
		return;		/* its beginning belonged to another membership */
	p->expect++;
	buf_bytes(&p->text, reader_view(&r, r.left), r.left);
	if (p->expect != count)
		return;
	buf_u8(&p->text, 0);
	if (buf_ok(&p->text))
		c->ops->deliver(c->arg, node, (const char *)p->text.data);
	p->text.len = 0;
	p->text.bad = false;
	p->expect = UINT32_MAX;
}

static void link_resend_later(struct corolink *c)
{
	if (!c->resend)
		qb_loop_timer_add(c->loop, QB_LOOP_HIGH, SEND_AGAIN_NS, c, link_flush, &c->resend);
}

static void link_flush(void *data)
{
	struct corolink *c = data;

	c->resend = 0;
	while (c->head && c->up) {
		struct piece *p = c->head;
		struct iovec iov = { .iov_base = p->data, .iov_len = p->len };
		cs_error_t r = p->view == c->view ? cpg_mcast_joined(c->cpg, CPG_TYPE_AGREED, &iov, 1) : CS_OK;

		if (r == CS_ERR_TRY_AGAIN) {
			link_resend_later(c);
			return;
		}
		if (r != CS_OK)
			log_warn("cannot send to the cluster: corosync says %d", (int)r);
		c->head = p->next;
		if (!c->head)
			c->tail = &c->head;
		free(p);
	}
}

static void link_queue(struct corolink *c, const char *text, size_t len, uint32_t index, uint32_t count)
{
	size_t off = (size_t)index * PIECE_MAX, n = len - off < PIECE_MAX ? len - off : PIECE_MAX;
	struct buf head = BUF_INIT(16);
	struct piece *p = malloc(sizeof(*p) + 12 + n);

	buf_u32(&head, PIECE_MAGIC);
	buf_u32(&head, index);
	buf_u32(&head, count);
	if (p && buf_ok(&head)) {
		memcpy(p->data, head.data, 12);
		memcpy(p->data + 12, text + off, n);
		p->len = 12 + n;
		p->view = c->view;
		p->next = NULL;
		*c->tail = p;
		c->tail = &p->next;
	} else {
		free(p);
	}
	buf_free(&head);
}

/* --- alone --------------------------------------------------------------------------------------------------------- */

struct echo { struct corolink *c; char *text; };

static void link_echo(void *data)
{
	struct echo *e = data;

	e->c->ops->deliver(e->c->arg, e->c->me, e->text);
	free(e->text);
	free(e);
}

static void link_alone_begin(void *data)
{
	struct corolink *c = data;

	c->retry = 0;
	c->view = 1;
	c->ops->nodes(c->arg, 1, c->nodes, 1, "");
	c->ops->view(c->arg, 1, &c->me, 1);
	c->ops->quorum(c->arg, true, true);
}

void corolink_send(struct corolink *c, char *text)
{
	size_t len = text ? strlen(text) : 0;
	uint32_t count = (uint32_t)((len + PIECE_MAX - 1) / PIECE_MAX);
	struct echo *e;

	if (c->alone && text) {
		e = malloc(sizeof(*e));
		if (e) {
			*e = (struct echo){ c, text };
			qb_loop_job_add(c->loop, QB_LOOP_HIGH, e, link_echo);
			return;
		}
	}
	if (!c->alone && c->view && len && count <= PIECES_MAX) {
		for (uint32_t i = 0; i < count; i++)
			link_queue(c, text, len, i, count);
		link_flush(c);
	}
	free(text);
}

/* --- connection ---------------------------------------------------------------------------------------------------- */

static void link_disconnect(struct corolink *c)
{
	if (c->cpg_fd >= 0)
		qb_loop_poll_del(c->loop, c->cpg_fd);
	if (c->quorum_fd >= 0)
		qb_loop_poll_del(c->loop, c->quorum_fd);
	if (c->cpg)
		cpg_finalize(c->cpg);
	if (c->quorum)
		quorum_finalize(c->quorum);
	c->cpg = 0;
	c->quorum = 0;
	c->cpg_fd = c->quorum_fd = -1;
	c->up = c->have_ring = c->have_group = c->q_have = c->q_quorate = false;
	c->n_q = 0;
	c->view = 0;
	link_drop_pieces(c);
}

static void link_lost(struct corolink *c)
{
	log_warn("Corosync went away; guests run on, nothing changes hands until it is back");
	link_disconnect(c);
	c->ops->lost(c->arg);
	if (!c->retry)
		qb_loop_timer_add(c->loop, QB_LOOP_MED, RETRY_NS, c, link_connect, &c->retry);
}

static int32_t link_cpg_ready(int32_t fd, int32_t revents, void *data)
{
	struct corolink *c = data;
	cs_error_t r = cpg_dispatch(c->cpg, CS_DISPATCH_ALL);

	if (r != CS_OK && r != CS_ERR_TRY_AGAIN)
		link_lost(c);
	return 0;
}

static int32_t link_quorum_ready(int32_t fd, int32_t revents, void *data)
{
	struct corolink *c = data;
	cs_error_t r = quorum_dispatch(c->quorum, CS_DISPATCH_ALL);

	if (r != CS_OK && r != CS_ERR_TRY_AGAIN)
		link_lost(c);
	return 0;
}

static int link_open(struct corolink *c)
{
	cpg_model_v1_data_t cpg_model = {
		.model = CPG_MODEL_V1, .cpg_deliver_fn = link_on_message, .cpg_confchg_fn = link_on_group,
		.cpg_totem_confchg_fn = link_on_ring, .flags = CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF,
	};
	quorum_model_v1_data_t quorum_model = { .model = QUORUM_MODEL_V1, .quorum_notify_fn = link_on_quorum };
	struct cpg_name group = { .length = sizeof(GROUP) - 1, .value = GROUP };
	uint32_t type = 0;

	if (cpg_model_initialize(&c->cpg, CPG_MODEL_V1, (cpg_model_data_t *)&cpg_model, c) != CS_OK)
		return c->cpg = 0, -ENOTCONN;
	if (quorum_model_initialize(&c->quorum, QUORUM_MODEL_V1, (quorum_model_data_t *)&quorum_model, &type, c) != CS_OK)
		return c->quorum = 0, -ENOTCONN;
	if (cpg_fd_get(c->cpg, &c->cpg_fd) != CS_OK || quorum_fd_get(c->quorum, &c->quorum_fd) != CS_OK)
		return -ENOTCONN;
	if (link_read_nodes(c) || cpg_join(c->cpg, &group) != CS_OK)
		return -ENOTCONN;
	if (qb_loop_poll_add(c->loop, QB_LOOP_HIGH, c->cpg_fd, POLLIN, c, link_cpg_ready) ||
	    qb_loop_poll_add(c->loop, QB_LOOP_HIGH, c->quorum_fd, POLLIN, c, link_quorum_ready))
		return -ENOMEM;
	c->up = true;
	return quorum_trackstart(c->quorum, CS_TRACK_CHANGES | CS_TRACK_CURRENT) == CS_OK ? 0 : -ENOTCONN;
}

static void link_connect(void *data)
{
	struct corolink *c = data;

	c->retry = 0;
	if (link_open(c) == 0) {
		log_info("joined the cluster as node %u", c->me);
		return;
	}
	link_disconnect(c);
	qb_loop_timer_add(c->loop, QB_LOOP_MED, RETRY_NS, c, link_connect, &c->retry);
}

static struct corolink *link_new(qb_loop_t *loop, const struct corolink_ops *ops, void *arg)
{
	struct corolink *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->loop = loop;
	c->ops = ops;
	c->arg = arg;
	c->cpg_fd = c->quorum_fd = -1;
	c->tail = &c->head;
	return c;
}

int corolink_start(qb_loop_t *loop, const struct corolink_ops *ops, void *arg, struct corolink **ret)
{
	struct corolink *c = link_new(loop, ops, arg);

	if (!c)
		return -ENOMEM;
	*ret = c;
	return qb_loop_timer_add(loop, QB_LOOP_HIGH, 0, c, link_connect, &c->retry);
}

int corolink_alone(qb_loop_t *loop, const char *name, const struct corolink_ops *ops, void *arg, struct corolink **ret)
{
	struct corolink *c = link_new(loop, ops, arg);

	if (!c)
		return -ENOMEM;
	c->alone = true;
	c->me = 1;
	c->n_nodes = 1;
	c->nodes[0].id = 1;
	snprintf(c->nodes[0].name, sizeof(c->nodes[0].name), "%s", name);
	*ret = c;
	return qb_loop_timer_add(loop, QB_LOOP_HIGH, 0, c, link_alone_begin, &c->retry);
}

bool corolink_connected(const struct corolink *c)
{
	return c->alone || c->up;
}

void corolink_stop(struct corolink *c)
{
	struct cpg_name group = { .length = sizeof(GROUP) - 1, .value = GROUP };

	if (!c)
		return;
	if (c->up)
		cpg_leave(c->cpg, &group);
	if (c->retry)
		qb_loop_timer_del(c->loop, c->retry);
	if (c->resend)
		qb_loop_timer_del(c->loop, c->resend);
	link_disconnect(c);
	free(c);
}
