/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What xl's users write: sizes of memory, numbers, lists of CPUs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dom0/xl/xl_parse.h"
#include "lib/cpulist.h"

static void memory(void **state)
{
	static const struct { const char *text; long long kib; } good[] = {
		{ "256", 262144 }, { "256m", 262144 }, { "256M", 262144 }, { "2g", 2097152 }, { "1T", 1LL << 30 }, { "4096k", 4096 },
		{ "4194304b", 4096 }, { "0", 0 }, { "1024t", 1LL << 40 },
	};
	static const char *const bad[] = { "", "m", "x", "-1", "+1", " 1", "1 ", "1x", "1mm", "0x10", "1.5g", "1025t", "99999999999999999999",
					   "9223372036854775807", "9223372036854775807g", "111111111111111111111111111111m" };
	long long kib;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(xl_parse_memory(good[i].text, &kib));
		assert_int_equal(kib, good[i].kib);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(xl_parse_memory(bad[i], &kib));
}

static void numbers(void **state)
{
	long long v = -7;

	assert_true(xl_parse_number("12", 1, 12, &v));
	assert_int_equal(v, 12);
	assert_false(xl_parse_number("13", 1, 12, &v));
	assert_false(xl_parse_number("0", 1, 12, &v));
	assert_false(xl_parse_number("12a", 1, 12, &v));
	assert_false(xl_parse_number("", 0, 12, &v));
	assert_int_equal(v, 12);
}

static void joined(void **state)
{
	char a[] = "phy:/dev/x", b[] = "xvdb", c[] = "w", *words[] = { a, b, c };
	char *text = xl_parse_join(3, words);

	assert_string_equal(text, "phy:/dev/x,xvdb,w");
	free(text);
	text = xl_parse_join(0, words);
	assert_string_equal(text, "");
	free(text);
}

static void cpu_lists(void **state)
{
	static const struct { const char *text, *canonical; } good[] = {
		{ "all", "all" }, { "0-7", "all" }, { "0", "0" }, { "0-3,^2", "0-1,3" }, { "all,^7", "0-6" }, { "7,1,0", "0-1,7" },
		{ "2,2", "2" }, { "all,^0-5", "6-7" },
	};
	static const struct { const char *text; int rc; } bad[] = {
		{ "", -EINVAL }, { ",", -EINVAL }, { "1,", -EINVAL }, { "a", -EINVAL }, { "3-1", -EINVAL }, { "-1", -EINVAL }, { "1-", -EINVAL },
		{ "8", -ERANGE }, { "0-8", -ERANGE }, { "99999999999999999999", -EINVAL }, { "^1", -ENOENT }, { "1,^1", -ENOENT },
		{ "allx", -EINVAL }, { "node:0", -EINVAL }, { "1;2", -EINVAL },
	};
	char text[CPULIST_TEXT_MAX];
	cpu_set_t set;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(cpulist_parse(good[i].text, 8, &set), 0);
		assert_int_equal(cpulist_format(&set, 8, text, sizeof(text)), 0);
		assert_string_equal(text, good[i].canonical);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(cpulist_parse(bad[i].text, 8, &set), bad[i].rc);
	assert_int_equal(cpulist_parse("0,2,4,6", 8, &set), 0);
	assert_int_equal(cpulist_format(&set, 8, text, 5), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory), cmocka_unit_test(numbers), cmocka_unit_test(joined), cmocka_unit_test(cpu_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
