/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The directory's messages as JSON (ha-agent/own_codec.c). */
#include <errno.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ha-agent/own_codec.h"
#include "tests/unit/ownership_node.h"

static void test_codec_round_trip(void **state)
{
	struct own_entry e = { .rec = record(9, 2, 3), .copy = OWN_HANDED, .holds = true, .act_known = true, .activated = 7, .begun = 8, .pending = 9 };
	struct own_seen seen = { 3, 10, 11, 12 };
	struct own_msg m = { .type = OWN_M_REPORT, .view = UINT64_C(0xfedcba9876543210), .report = { true, true, 77, &e, 1, &seen, 1 } }, back;
	json_t *j;

	strcpy(e.uuid, U);
	j = own_msg_encode(&m);
	assert_int_equal(own_msg_decode(j, &back), 0);
	assert_true(back.view == m.view && back.report.full && back.report.known && back.report.incarnation == 77);
	assert_memory_equal(&back.report.entries[0], &e, sizeof(e));
	assert_memory_equal(&back.report.seen[0], &seen, sizeof(seen));
	own_msg_release(&back);
	json_decref(j);
}

static void test_codec_refuses(void **state)
{
	static const char *const bad[] = {
		"{}", "[]", "{\"v\":1,\"type\":\"claim\"}", "{\"v\":2,\"type\":\"leave\",\"view\":\"0000000000000001\",\"uuid\":\"\"}",
		"{\"v\":1,\"type\":\"claim\",\"view\":\"0000000000000001\",\"uuid\":\"../../etc/passwd\",\"epoch\":1}",
		"{\"v\":1,\"type\":\"claim\",\"view\":\"0000000000000001\",\"uuid\":\"" U "\",\"epoch\":-1}",
		"{\"v\":1,\"type\":\"claim\",\"view\":\"0000000000000001\",\"uuid\":\"" U "\",\"epoch\":1,\"record\":{\"owner\":4294967296}}",
		"{\"v\":1,\"type\":\"report\",\"view\":\"0000000000000001\",\"uuid\":\"\",\"report\":{\"domains\":[{}],\"nodes\":[]}}",
		"{\"v\":1,\"type\":\"report\",\"view\":\"0000000000000001\",\"uuid\":\"\",\"report\":{\"domains\":7,\"nodes\":[]}}",
	};
	struct own_msg m;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *j = json_loads(bad[i], 0, NULL);

		assert_int_equal(own_msg_decode(j, &m), -EBADMSG);
		json_decref(j);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codec_round_trip), cmocka_unit_test(test_codec_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
