/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk names against the numbers of xen-vbd-interface(7) and of reference output (xvda is 51712). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/vdev.h"

static void names_have_their_numbers(void **state)
{
	static const struct { const char *name; uint32_t devid; } rows[] = {
		{ "xvda", 51712 }, { "xvda1", 51713 }, { "xvdb", 51728 }, { "xvdp15", 51967 }, { "xvdq", 1u << 28 | 16 << 8 },
		{ "xvda16", 1u << 28 | 16 }, { "sda", 2048 }, { "sdb2", 2066 }, { "hda", 768 }, { "hdb", 832 }, { "hdc", 5632 },
		{ "d1p2", 51730 }, { "51712", 51712 }, { "0xca00", 51712 }, { "xvdaa", 1u << 28 | 26 << 8 },
	};
	uint32_t devid;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(vdev_to_devid(rows[i].name, &devid), 0);
		assert_int_equal(devid, rows[i].devid);
	}
}

static void nonsense_is_refused(void **state)
{
	static const char *const rows[] = { "", "xvd", "xvda0", "xvda256", "sdq", "sda16", "hde", "hda64", "d", "d1p", "0", "foo",
					    "xvdA", "xvda1x", "12x", "xvdzzzzzzzz", "d1048576", "99999999999" };
	uint32_t devid;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_true(vdev_to_devid(rows[i], &devid) < 0);
}

static void numbers_come_back_as_names(void **state)
{
	static const char *const rows[] = { "xvda", "xvda1", "xvdp", "xvdq", "xvdz200", "xvdaa", "xvdzz3", "sdb2", "hda", "hdd1" };
	char name[16];
	uint32_t devid;
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(vdev_to_devid(rows[i], &devid), 0);
		assert_int_equal(vdev_from_devid(devid, name, sizeof(name)), 0);
		assert_string_equal(name, rows[i]);
	}
	assert_true(vdev_from_devid(1, name, sizeof(name)) < 0);
	assert_true(vdev_from_devid(51712, name, 4) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_have_their_numbers),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(numbers_come_back_as_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
