/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames: who is learnt, where checksums are, what is announced; every truncation of each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hypervisor/devices/netpkt.h"

static const uint8_t mac[6] = { 0, 0x16, 0x3e, 1, 2, 3 };
static const uint8_t ip6[16] = { 0xfe, 0x80, [8] = 2, 0x16, 0x3e, 0xff, 0xfe, 1, 2, 3 };

/* RFC 1071, written apart from the code under test. */
static unsigned checksum(const uint8_t *a, size_t an, const uint8_t *b, size_t bn, unsigned extra)
{
	unsigned long s = extra;

	for (size_t i = 0; i < an; i++)
		s += i % 2 ? a[i] : (unsigned)a[i] << 8;
	for (size_t i = 0; i < bn; i++)
		s += i % 2 ? b[i] : (unsigned)b[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (unsigned)s;
}

static void learns_from_arp(void **state)
{
	struct netpkt_addrs a = { 0 };
	uint8_t f[96], other[6] = { 0, 0x16, 0x3e, 9, 9, 9 };
	size_t n = netpkt_gratuitous_arp(f, mac, (const uint8_t[]){ 10, 0, 0, 7 });

	assert_true(netpkt_learn(&a, mac, f, n));
	assert_false(netpkt_learn(&a, mac, f, n));                 /* known */
	assert_int_equal(a.nr4, 1);
	assert_memory_equal(a.v4[0], "\x0a\0\0\x07", 4);
	assert_false(netpkt_learn(&a, other, f, n));               /* not this guest's */
	n = netpkt_gratuitous_arp(f, mac, (const uint8_t[]){ 224, 0, 0, 1 });
	assert_false(netpkt_learn(&a, mac, f, n));
	n = netpkt_gratuitous_arp(f, mac, (const uint8_t[]){ 0, 0, 0, 0 });
	assert_false(netpkt_learn(&a, mac, f, n));
	for (unsigned i = 0; i < 50; i++) {                        /* bounded; the newest stay */
		n = netpkt_gratuitous_arp(f, mac, (const uint8_t[]){ 10, 1, 0, (uint8_t)i });
		assert_true(netpkt_learn(&a, mac, f, n));
	}
	assert_int_equal(a.nr4, NETPKT_MAX_ADDRS);
	assert_int_equal(a.v4[NETPKT_MAX_ADDRS - 1][3], 49);
	assert_int_equal(a.v4[0][3], 42);
}

static void learns_from_discovery(void **state)
{
	struct netpkt_addrs a = { 0 };
	uint8_t f[96], all[16] = { 0xff, 2, [15] = 1 };
	size_t n = netpkt_unsolicited_na(f, mac, ip6);

	for (size_t i = 0; i < n - 8; i++) {                       /* the option may be missing, the rest not */
		uint8_t *cut = malloc(i ? i : 1);

		memcpy(cut, f, i);
		assert_false(netpkt_learn(&a, mac, cut, i));
		free(cut);
	}
	f[21] = 64;                                                /* came through a router: not to be believed */
	assert_false(netpkt_learn(&a, mac, f, n));
	f[21] = 255;
	assert_true(netpkt_learn(&a, mac, f, n));
	assert_memory_equal(a.v6[0], ip6, 16);
	memcpy(f + 62, all, 16);
	assert_false(netpkt_learn(&a, mac, f, n));
	assert_int_equal(a.nr6, 1);
}

static void announcement_checksum(void **state)
{
	uint8_t f[NETPKT_ANNOUNCE_MAX];

	assert_int_equal(netpkt_unsolicited_na(f, mac, ip6), 86);
	assert_int_equal(checksum(f + 22, 32, f + 54, 32, 58 + 32), 0xffff);
	assert_int_equal(f[54], 136);
	assert_memory_equal(f + 80, mac, 6);
}

static void announcements_in_order(void **state)
{
	struct netpkt_addrs a = { .nr4 = 1, .nr6 = 1 };
	uint8_t f[NETPKT_ANNOUNCE_MAX];

	memcpy(a.v6[0], ip6, 16);
	memcpy(a.v4[0], "\x0a\0\0\x07", 4);
	assert_int_equal(netpkt_announcement(f, mac, &a, 0), 60);
	assert_memory_equal(f + 12, "\x80\x35", 2);
	assert_memory_equal(f + 20, "\0\x03", 2);
	assert_int_equal(netpkt_announcement(f, mac, &a, 1), 60);
	assert_memory_equal(f + 28, "\x0a\0\0\x07", 4);
	assert_memory_equal(f + 38, "\x0a\0\0\x07", 4);
	assert_int_equal(netpkt_announcement(f, mac, &a, 2), 86);
	assert_int_equal(netpkt_announcement(f, mac, &a, 3), 0);
}

static void finds_and_finishes_checksums(void **state)
{
	uint8_t f[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x16, 0x3e, 1, 2, 3, 8, 0,
			0x45, 0, 0, 33, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 7, 10, 0, 0, 9,
			0x12, 0x34, 0x56, 0x78, 0, 13, 0, 0, 'a', 'b', 'c', 'd', 'e' };
	struct netpkt_csum c;

	assert_true(netpkt_find_csum(f, sizeof(f), &c));
	assert_int_equal(c.start, 34);
	assert_int_equal(c.offset, 6);
	assert_false(c.tcp);
	netpkt_put_pseudo(f, sizeof(f), &c);
	assert_true(netpkt_finish_csum(f, sizeof(f), c.start, c.offset));
	assert_int_equal(checksum(f + 26, 8, f + 34, sizeof(f) - 34, 17 + 13), 0xffff);
	assert_false(netpkt_finish_csum(f, sizeof(f), 46, 0));
	assert_false(netpkt_finish_csum(f, sizeof(f), 65535, 65535));
	for (size_t i = 0; i < 42; i++) {
		uint8_t *cut = malloc(i ? i : 1);

		memcpy(cut, f, i);
		assert_false(netpkt_find_csum(cut, i, &c));
		free(cut);
	}
	f[20] = 0x20;                                              /* a fragment has no transport header of its own */
	assert_false(netpkt_find_csum(f, sizeof(f), &c));
	f[20] = 0;
	f[14] = 0x4f;                                              /* header longer than the frame */
	assert_false(netpkt_find_csum(f, 50 > sizeof(f) ? sizeof(f) : 50, &c));
	f[14] = 0x44;
	assert_false(netpkt_find_csum(f, sizeof(f), &c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(learns_from_arp), cmocka_unit_test(learns_from_discovery), cmocka_unit_test(announcement_checksum),
		cmocka_unit_test(announcements_in_order), cmocka_unit_test(finds_and_finishes_checksums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
