/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xl's columns against lines that real Xen 4.17 printed. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "dom0/xl/xl_format.h"

static FILE *out;
static char *text;
static size_t len;

static int begin(void **state)
{
	out = open_memstream(&text, &len);
	return out ? 0 : -1;
}

static int end(void **state)
{
	fclose(out);
	free(text);
	return 0;
}

static void printed(const char *want)
{
	fflush(out);
	assert_string_equal(text, want);
}

static const struct xl_row dom0 = { "Domain-0", "r-----", "00000000-0000-0000-0000-000000000000", 0, 1280, 2, -1, 340.3 };
static const struct xl_row pv1 = { "pv1", "-b----", "0b369cb7-88df-425c-91b0-429b9139c355", 1, 192, 1, -1, 16.2 };

static void list(void **state)
{
	xl_format_list_header(out, false);
	xl_format_list(out, &dom0, false);
	xl_format_list(out, &pv1, false);
	printed("Name                                        ID   Mem VCPUs\tState\tTime(s)\n"
		"Domain-0                                     0  1280     2     r-----     340.3\n"
		"pv1                                          1   192     1     -b----      16.2\n");
}

static void list_verbose(void **state)
{
	struct xl_row row = dom0;

	row.seconds = 343.2;
	xl_format_list_header(out, true);
	xl_format_list(out, &row, true);
	row = pv1;
	row.seconds = 16.3;
	xl_format_list(out, &row, true);
	printed("Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label\n"
		"Domain-0                                     0  1280     2     r-----     343.2 00000000-0000-0000-0000-000000000000        -                -\n"
		"pv1                                          1   192     1     -b----      16.3 0b369cb7-88df-425c-91b0-429b9139c355        -                -\n");
}

static void vcpus(void **state)
{
	xl_format_vcpu_header(out);
	xl_format_vcpu(out, "Domain-0", 0, 0, 0, "r--", 176.5, "all");
	xl_format_vcpu(out, "Domain-0", 0, 1, 1, "-b-", 176.3, "all");
	xl_format_vcpu(out, "pv1", 1, 0, 0, "-b-", 17.1, "all");
	xl_format_vcpu(out, "pv1", 1, 1, -1, "--p", 0, "0-1,3");
	printed("Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)\n"
		"Domain-0                             0     0    0   r--     176.5  all / all\n"
		"Domain-0                             0     1    1   -b-     176.3  all / all\n"
		"pv1                                  1     0    0   -b-      17.1  all / all\n"
		"pv1                                  1     1    -   --p       0.0  0-1,3 / all\n");
}

static void credit2(void **state)
{
	xl_format_credit2_header(out);
	xl_format_credit2(out, "Domain-0", 0, 256, 0);
	xl_format_credit2(out, "pv1", 1, 256, 0);
	printed("Name                                ID Weight  Cap\n"
		"Domain-0                             0    256    0\n"
		"pv1                                  1    256    0\n");
}

static void uptime(void **state)
{
	xl_format_uptime_header(out);
	xl_format_uptime(out, "Domain-0", 0, 254);
	xl_format_uptime(out, "pv1", 1, 115);
	xl_format_uptime(out, "old", 2, 2 * 86400 + 11 * 3600);
	printed("Name                                ID Uptime\n"
		"Domain-0                             0  0:04:14\n"
		"pv1                                  1  0:01:55\n"
		"old                                  2 2 days, 11:00:00\n");
}

static void uptime_short(void **state)
{
	xl_format_uptime_short(out, "14:03:00", "pv1", 1, 3720);
	xl_format_uptime_short(out, "14:03:00", "old", 2, 86400 + 60);
	printed(" 14:03:00 up  1:02, pv1 (1)\n 14:03:00 up 1 day,  0:01, old (2)\n");
}

static void devices(void **state)
{
	xl_format_block_header(out);
	xl_format_block(out, "51712", "4", "8", "8", "/local/domain/0/backend/vbd/1/51712");
	xl_format_network_header(out);
	xl_format_network(out, "0", "00:16:3e:01:02:03", "4", "-1", "522", "523", "/local/domain/0/backend/vif/1/0");
	printed("Vdev  BE  handle state evt-ch ring-ref BE-path                       \n"
		"51712 0   1      4     8      8        /local/domain/0/backend/vbd/1/51712\n"
		"Idx BE Mac Addr.         handle state evt-ch   tx-/rx-ring-ref BE-path                       \n"
		"0   0  00:16:3e:01:02:03     0     4     -1   522/523         /local/domain/0/backend/vif/1/0\n");
}

static void long_list(void **state)
{
	json_t *domain = json_loads("{\"domid\": 1, \"copy\": \"running\", \"config\": {\"name\": \"pv1\", \"type\": \"pv\", \"uuid\": \"u\", "
				    "\"vcpus\": 2, \"memory_kib\": 196608, \"maxmem_kib\": 262144, \"kernel\": \"/k\", \"cmdline\": \"c\", "
				    "\"disk\": [{\"backend\": \"iscsi\", \"iqn\": \"iqn.x\", \"portal\": \"h:1\", \"lun\": 3, \"vdev\": \"xvda\", "
				    "\"format\": \"raw\", \"mode\": \"ro\"}], \"vif\": [{\"mac\": \"m\", \"bridge\": \"b\"}]}}", 0, NULL);
	json_t *got = xl_format_domain(domain), *config = json_object_get(got, "config");
	const json_t *disk = json_array_get(json_object_get(config, "disks"), 0);

	assert_int_equal(json_integer_value(json_object_get(got, "domid")), 1);
	assert_string_equal(json_string_value(json_object_get(json_object_get(config, "c_info"), "name")), "pv1");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(config, "b_info"), "target_memkb")), 196608);
	assert_int_equal(json_array_size(json_object_get(json_object_get(config, "b_info"), "avail_vcpus")), 2);
	assert_string_equal(json_string_value(json_object_get(disk, "pdev_path")), "iqn=iqn.x,portal=h:1,lun=3");
	assert_int_equal(json_integer_value(json_object_get(disk, "readwrite")), 0);
	assert_string_equal(json_string_value(json_object_get(json_object_get(got, "haven"), "copy")), "running");
	json_decref(got);
	json_decref(domain);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
		TEST(list), TEST(list_verbose), TEST(vcpus), TEST(credit2), TEST(uptime), TEST(uptime_short), TEST(devices), TEST(long_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
