/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Image files: written, read back; and truncated or altered anywhere, refused. */
#include "config.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "hypervisor/image/image.h"

static int image_make(void)
{
	struct image_header hdr = { IMAGE_FILE, 7, 123456789, 0x8000, 100 };
	struct image_writer w;
	uint64_t first = 42;
	uint8_t page[4096];
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert_true(fd >= 0);
	memset(page, 0x5a, sizeof page);
	assert_int_equal(image_writer_open(&w, fd, &hdr), 0);
	image_write(&w, IMAGE_CONFIG, NULL, 0, "{\"a\":1}", 7);
	image_write(&w, IMAGE_PAGES, &first, sizeof first, page, sizeof page);
	image_write(&w, IMAGE_STORE, NULL, 0, "store", 5);
	assert_int_equal(image_writer_close(&w, false), 0);
	return fd;
}

/* Reads to the end; the last result, and how many records came. */
static int image_read_all(int fd, unsigned *ret_records)
{
	struct image_header hdr = { 0 };
	struct image_reader r;
	const uint8_t *body;
	uint32_t type;
	size_t n;
	int rc = image_reader_open(&r, fd, &hdr, NULL);

	*ret_records = 0;
	if (rc)
		return rc;
	while ((rc = image_read(&r, &type, &body, &n, NULL)) == 1)
		++*ret_records;
	image_reader_close(&r);
	image_reader_close(&r);
	return rc;
}

static void test_saved_record(void **state)
{
	struct image_saved s = { 0x123456789abcdefULL, true, false }, got;
	uint8_t body[IMAGE_SAVED_BYTES];

	image_saved_pack(&s, body);
	assert_int_equal(image_saved_unpack(&got, body, sizeof body), 0);
	assert_int_equal(got.epoch, s.epoch);
	assert_true(got.cluster);
	assert_false(got.goes_on);
	s.goes_on = true;
	image_saved_pack(&s, body);
	assert_int_equal(image_saved_unpack(&got, body, sizeof body), 0);
	assert_true(got.goes_on);
	assert_int_equal(image_saved_unpack(&got, body, sizeof body - 1), -EINVAL);
	body[8] = 4;	/* a flag nobody knows */
	assert_int_equal(image_saved_unpack(&got, body, sizeof body), -EINVAL);
}

static void test_round_trip(void **state)
{
	struct image_header hdr = { 0 };
	struct image_reader r;
	struct err err = { 0 };
	const uint8_t *body;
	uint32_t type;
	size_t n;
	int fd = image_make();

	assert_int_equal(image_reader_open(&r, fd, &hdr, &err), 0);
	assert_int_equal(hdr.domid, 7);
	assert_int_equal(hdr.max_pages, 0x8000);
	assert_int_equal(hdr.realtime_ns, 123456789);
	assert_int_equal(image_read(&r, &type, &body, &n, &err), 1);
	assert_int_equal(type, IMAGE_CONFIG);
	assert_memory_equal(body, "{\"a\":1}", 7);
	assert_int_equal(n, 7);
	assert_int_equal(image_read(&r, &type, &body, &n, &err), 1);
	assert_int_equal(type, IMAGE_PAGES);
	assert_int_equal(n, 8 + 4096);
	assert_int_equal(body[0], 42);
	assert_int_equal(body[8 + 4095], 0x5a);
	assert_int_equal(image_read(&r, &type, &body, &n, &err), 1);
	assert_int_equal(image_read(&r, &type, &body, &n, &err), 0);
	assert_int_equal(image_read(&r, &type, &body, &n, &err), 0);
	image_reader_close(&r);
	close(fd);
}

static void test_truncated_anywhere(void **state)
{
	unsigned records;
	struct stat st;
	int fd = image_make();

	assert_int_equal(fstat(fd, &st), 0);
	for (off_t n = st.st_size - 1; n >= 0; n -= 13) {
		assert_int_equal(ftruncate(fd, n), 0);
		assert_int_equal(image_read_all(fd, &records), -EINVAL);
	}
	close(fd);
}

static void test_every_bit_counts(void **state)
{
	unsigned records;
	struct stat st;
	uint8_t byte;
	int fd = image_make();

	assert_int_equal(fstat(fd, &st), 0);
	for (off_t at = 0; at < st.st_size; at += at < 400 ? 1 : 37) {
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= (uint8_t)(1u << at % 8);
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		if (image_read_all(fd, &records) >= 0)
			fail_msg("a flipped bit at octet %ld went through", (long)at);
		byte ^= (uint8_t)(1u << at % 8);
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
	assert_int_equal(image_read_all(fd, &records), 0);
	assert_int_equal(records, 3);
	close(fd);
}

static void test_something_behind_the_end(void **state)
{
	unsigned records;
	int fd = image_make();

	lseek(fd, 0, SEEK_END);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(image_read_all(fd, &records), -EINVAL);
	close(fd);
}

static void test_disk_full(void **state)
{
	struct image_header hdr = { IMAGE_FILE, 7, 0, 0x8000, 100 };
	struct image_writer w;
	int fd = memfd_create("full", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint8_t page[4096] = { 1 };

	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);      /* writes past 4096 fail, as on a full disk */
	assert_int_equal(image_writer_open(&w, fd, &hdr), 0);
	image_write(&w, IMAGE_PAGES, NULL, 0, page, sizeof page);
	image_write(&w, IMAGE_PAGES, NULL, 0, page, sizeof page);
	assert_true(image_writer_close(&w, false) < 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_saved_record), cmocka_unit_test(test_truncated_anywhere), cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_something_behind_the_end), cmocka_unit_test(test_disk_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
