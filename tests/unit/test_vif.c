/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network back end: frames out and in, offloads, what is refused. */
#include "tests/unit/devices_guest.h"

#include <errno.h>
#include <sys/socket.h>

#include "hypervisor/devices/netpkt.h"

static void net_transmits(void **state)
{
	struct t *t = setup(false);
	struct virtio_net_hdr h;
	uint8_t got[4096];
	struct net n = { 0 };

	net_connect(t, &n);
	memcpy(n.txp[0] + 100, udp_frame, sizeof(udp_frame));
	net_send(t, &n, (struct netif_tx_request){ .gref = n.txref[0], .offset = 100, .flags = NETTXF_csum_blank, .id = 5, .size = sizeof(udp_frame) });
	assert_int_equal(n.tx->rsp_prod, 1);
	assert_int_equal(n.tx->ring[0].rsp.status, NETIF_RSP_OKAY);
	assert_int_equal(n.tx->ring[0].rsp.id, 5);
	assert_int_equal(recv(t->tap, got, sizeof(got), MSG_DONTWAIT), sizeof(h) + sizeof(udp_frame));
	memcpy(&h, got, sizeof(h));
	assert_int_equal(h.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(h.csum_start, 34);
	assert_int_equal(h.csum_offset, 6);
	assert_memory_equal(got + sizeof(h), udp_frame, 40);       /* up to the checksum */
	teardown(t);
}

static void net_fragments_and_gso(void **state)
{
	struct t *t = setup(false);
	struct netif_extra_info gso = { .type = XEN_NETIF_EXTRA_TYPE_GSO };
	struct virtio_net_hdr h;
	uint8_t got[9000], frame[6000];
	struct net n = { 0 };

	net_connect(t, &n);
	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i * 3);
	memcpy(frame, udp_frame, 34);
	frame[14 + 9] = 6;                                         /* TCP */
	frame[34 + 12] = 0x50;
	memcpy(n.txp[0], frame, 2000);
	memcpy(n.txp[1], frame + 2000, 4000);
	gso.u.gso.size = 1400;
	gso.u.gso.type = XEN_NETIF_GSO_TYPE_TCPV4;
	n.tx->ring[0].req = (struct netif_tx_request){ .gref = n.txref[0], .flags = NETTXF_csum_blank | NETTXF_extra_info | NETTXF_more_data, .id = 1, .size = 6000 };
	memcpy(&n.tx->ring[1], &gso, sizeof(gso));
	n.tx_prod = 2;
	net_send(t, &n, (struct netif_tx_request){ .gref = n.txref[1], .id = 2, .size = 4000 });
	assert_int_equal(n.tx->rsp_prod, 3);
	assert_int_equal(n.tx->ring[0].rsp.status, NETIF_RSP_OKAY);
	assert_int_equal(n.tx->ring[1].rsp.status, NETIF_RSP_NULL);
	assert_int_equal(n.tx->ring[2].rsp.status, NETIF_RSP_OKAY);
	assert_int_equal(recv(t->tap, got, sizeof(got), MSG_DONTWAIT), sizeof(h) + 6000);
	memcpy(&h, got, sizeof(h));
	assert_int_equal(h.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(h.gso_size, 1400);
	assert_int_equal(h.hdr_len, 54);
	assert_memory_equal(got + sizeof(h) + 54, frame + 54, 6000 - 54);
	teardown(t);
}

static void net_refuses(void **state)
{
	static const struct netif_tx_request bad[] = {
		{ .offset = 0, .size = 13 }, { .offset = 4090, .size = 60 }, { .offset = 65535, .size = 60 }, { .gref = 499, .size = 60 },
	};
	struct t *t = setup(false);
	struct net n = { 0 };
	uint8_t got[100];

	net_connect(t, &n);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct netif_tx_request r = bad[i];

		if (!r.gref)
			r.gref = n.txref[0];
		net_send(t, &n, r);
		assert_int_equal(n.tx->rsp_prod, i + 1);
		assert_int_equal(n.tx->ring[i].rsp.status, NETIF_RSP_ERROR);
	}
	/* fragments that add up to more than the whole */
	n.tx->ring[n.tx_prod++].req = (struct netif_tx_request){ .gref = n.txref[0], .flags = NETTXF_more_data, .size = 100 };
	net_send(t, &n, (struct netif_tx_request){ .gref = n.txref[1], .size = 100 });
	assert_int_equal(n.tx->ring[n.tx_prod - 1].rsp.status, NETIF_RSP_ERROR);
	while (recv(t->tap, got, sizeof(got), MSG_DONTWAIT) > 0)
		assert_int_equal(got[sizeof(struct virtio_net_hdr) + 12], 0x80);       /* RARP: announcements, nothing else */
	/* a packet without an end */
	net_send(t, &n, (struct netif_tx_request){ .gref = n.txref[0], .flags = NETTXF_more_data, .size = 100 });
	assert_int_equal(n.tx->rsp_prod, n.tx_prod - 1);
	teardown(t);
	t = setup(false);
	memset(&n, 0, sizeof(n));
	net_connect(t, &n);
	n.tx->req_prod = 1000;
	n.rx->req_prod = 9999;
	kick(t, n.port);
	assert_int_equal(n.tx->rsp_prod, 0);
	teardown(t);
}

static void net_receives(void **state)
{
	struct virtio_net_hdr h = { .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 1400 }, plain = { 0 };
	struct t *t = setup(false);
	struct net n = { 0 };
	struct netif_extra_info e;
	uint8_t frame[6000];

	net_connect(t, &n);
	for (size_t i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i * 5);
	tap_write(t, &h, frame, sizeof(frame));                    /* no room posted: it waits */
	assert_int_equal(n.rx->rsp_prod, 0);
	net_post(t, &n, 2);
	assert_int_equal(n.rx->rsp_prod, 0);                       /* needs three */
	net_post(t, &n, 2);
	assert_int_equal(n.rx->rsp_prod, 3);
	assert_true(pending(t, n.port));
	assert_int_equal(n.rx->ring[0].rsp.status, 4096);
	assert_int_equal(n.rx->ring[0].rsp.flags, NETRXF_more_data | NETRXF_extra_info);
	memcpy(&e, &n.rx->ring[1], sizeof(e));
	assert_int_equal(e.type, XEN_NETIF_EXTRA_TYPE_GSO);
	assert_int_equal(e.u.gso.size, 1400);
	assert_int_equal(n.rx->ring[2].rsp.status, 6000 - 4096);
	assert_memory_equal(n.rxp[0], frame, 4096);
	assert_memory_equal(n.rxp[2], frame + 4096, 6000 - 4096);
	tap_write(t, &plain, udp_frame, sizeof(udp_frame));
	assert_int_equal(n.rx->rsp_prod, 4);
	assert_int_equal(n.rx->ring[3].rsp.status, sizeof(udp_frame));
	assert_int_equal(n.rx->ring[3].rsp.flags, 0);
	teardown(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(net_transmits), cmocka_unit_test(net_fragments_and_gso), cmocka_unit_test(net_refuses),
		cmocka_unit_test(net_receives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
