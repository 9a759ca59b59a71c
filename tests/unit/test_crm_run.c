/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Why one of Pacemaker's tools failed, from what it printed (lib/crm_run.h): plain, or XML with its complaints in it or in front of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/crm_run.h"

static void check(const char *out, const char *expected)
{
	char why[800];

	crm_complaint(out, why, sizeof(why));
	assert_string_equal(why, expected);
}

static void plain(void **state)
{
	check("", "failed");
	check("\n \n", "failed");
	check("one line", "one line");
	check("notes\ncrm_attribute: Error performing operation: No such device or address\n\n",
	      "crm_attribute: Error performing operation: No such device or address");
}

static void xml(void **state)
{
#define XML "<pacemaker-result api-version=\"2.25\" request=\"crm_simulate --live-check\">\n"
	check(XML "  <status code=\"70\" message=\"Internal software bug\"/>\n</pacemaker-result>\n", "Internal software bug");
	check("notes\ncrm_simulate: CIB query failed: Input file not available\n" XML
	      "  <status code=\"66\" message=\"Input file not available\"/>\n</pacemaker-result>\n",
	      "crm_simulate: CIB query failed: Input file not available (Input file not available)");
	check(XML "  <nodes/>\n  <status code=\"102\" message=\"Not connected\">\n    <errors>\n      <error>crm_simulate: no CIB</error>\n"
	      "    </errors>\n  </status>\n</pacemaker-result>\n", "crm_simulate: no CIB (Not connected)");
	check("it was killed amid\n" XML "  <nodes>\n", "it was killed amid");
	check(XML, "failed");
}

static void long_ones_are_cut(void **state)
{
	char out[2000], why[16];

	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = 'x';
	out[sizeof(out) - 1] = '\0';
	crm_complaint(out, why, sizeof(why));
	assert_string_equal(why, "xxxxxxxxxxxxxxx");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(plain), cmocka_unit_test(xml), cmocka_unit_test(long_ones_are_cut) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
