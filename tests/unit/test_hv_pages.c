/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that runs before its memory has come: whoever touches what is owed, a thread or the kernel for it, sees the page that comes and
 * nothing else; what is not owed is never written over; a worker that ends is replaced and nobody is forgotten.  Real memory, a real
 * userfaultfd, real sockets; the test is the worker.
 */
#include "config.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include "hypervisor/hv_domain_pages.h"
#include "lib/proto/pages.h"

#define PAGES 2048u
#define OLD 0xaa
#define WAIT_MS 120000         /* for what has to come */

/* What the rest of hv-domain is to this file. */
void hv_post(struct hv *h, void (*fn)(struct hv *h, int n), int n) { }
void hv_changed(struct hv *h) { }

static struct world {
	struct domain d;
	struct hv h;
	char path[108];
	int worker;
} *w;

static bool can_do(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int listener(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	snprintf(w->path, sizeof w->path, "/tmp/haven-test-pages-%d-%p", getpid(), (void *)w);
	memcpy(sa.sun_path, w->path, strlen(w->path) + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

/* A copy that came in pre-copy: every page holds OLD, but for the last hundred, which were never touched. */
static int setup(void **state)
{
	w = calloc(1, sizeof *w);
	w->d.domid = 7;
	w->d.max_pages = PAGES;
	w->d.ram_fd = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(w->d.ram_fd, PAGES * 4096), 0);
	w->d.ram = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, w->d.ram_fd, 0);
	for (unsigned f = 0; f < PAGES - 100; f++)
		memset(w->d.ram + f * 4096, OLD, 4096);
	pthread_mutex_init(&w->d.collapse_lock, NULL);
	w->h.d = &w->d;
	w->h.copy.state = COPY_INCOMING;
	w->worker = -1;
	hv_pages_init(&w->h, listener());
	if (!can_do())
		return 0;
	assert_int_equal(hv_pages_expect(&w->h, 5, "n1"), 0);
	assert_true(hv_pages_possible(&w->h));
	return 0;
}

/* The service thread stays until the process ends, as in hv-domain. */
static int teardown(void **state)
{
	if (w->worker >= 0)
		close(w->worker);
	unlink(w->path);
	return 0;
}

static void owe(unsigned first, unsigned n, bool begin)
{
	uint64_t bits[PAGES / 64] = { 0 };
	struct err err = { 0 };

	for (unsigned f = first; f < first + n; f++)
		bits[f / 64] |= 1UL << (f % 64);
	assert_int_equal(hv_pages_owe(&w->h, bits, PAGES / 64, &err), 0);
	if (begin)
		assert_int_equal(hv_pages_begin(&w->h, &err), 0);
}

static json_t *greet(uint64_t attempt, const char *from)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	json_t *o = json_pack("{s:I, s:s}", "attempt", (json_int_t)attempt, "from", from), *answer = NULL;

	memcpy(sa.sun_path, w->path, strlen(w->path) + 1);
	w->worker = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	assert_int_equal(connect(w->worker, (struct sockaddr *)&sa, sizeof sa), 0);
	assert_int_equal(msg_send(w->worker, o, NULL, 0), 0);
	json_decref(o);
	assert_int_equal(msg_recv(w->worker, &answer, NULL, NULL), 1);
	return answer;
}

static void come(void)
{
	json_t *answer = greet(5, "n1");

	assert_true(json_is_true(json_object_get(answer, "ok")));
	json_decref(answer);
}

/* The next packet's kind; its payload's length. 0: none in time, -1: the end. */
static int hear(uint8_t *body, size_t *ret_n, uint32_t *ret_count, int ms)
{
	static uint8_t packet[PAGES_PACKET_MAX];
	struct pollfd p = { .fd = w->worker, .events = POLLIN };
	struct pages_hdr hdr;
	ssize_t n;

	if (poll(&p, 1, ms) <= 0)
		return 0;
	n = recv(w->worker, packet, sizeof packet, 0);
	if (n < (ssize_t)sizeof hdr)
		return -1;
	memcpy(&hdr, packet, sizeof hdr);
	memcpy(body, packet + sizeof hdr, (size_t)n - sizeof hdr);
	*ret_n = (size_t)n - sizeof hdr;
	*ret_count = hdr.count;
	return (int)hdr.kind;
}

static uint8_t body[PAGES_PACKET_MAX];
static size_t body_n;
static uint32_t count;

static unsigned hear_owed(void)
{
	unsigned pages = 0;

	for (;;) {
		int kind = hear(body, &body_n, &count, WAIT_MS);

		if (kind == PAGES_OWED_END)
			return pages;
		assert_int_equal(kind, PAGES_OWED);
		for (uint32_t i = 0; i < count; i++) {
			struct pages_run r;

			memcpy(&r, body + i * sizeof r, sizeof r);
			pages += (unsigned)r.count;
		}
	}
}

static uint64_t hear_fault(void)
{
	uint64_t frame;

	assert_int_equal(hear(body, &body_n, &count, WAIT_MS), PAGES_FAULT);
	assert_int_equal(body_n, 8);
	memcpy(&frame, body, 8);
	return frame;
}

static void say(uint32_t kind, uint32_t n, const void *p, size_t bytes)
{
	struct pages_hdr hdr = { kind, n };
	uint8_t packet[PAGES_PACKET_MAX];

	memcpy(packet, &hdr, sizeof hdr);
	memcpy(packet + sizeof hdr, p, bytes);
	assert_int_equal(send(w->worker, packet, sizeof hdr + bytes, MSG_NOSIGNAL), sizeof hdr + bytes);
}

static void bring(uint64_t frame, uint8_t value)
{
	uint8_t data[8 + 4096];

	memcpy(data, &frame, 8);
	memset(data + 8, value, 4096);
	say(PAGES_DATA, 1, data, sizeof data);
}

/* One who touches memory, as a vCPU does. */
struct toucher { pthread_t t; unsigned frame; bool by_kernel; atomic_int seen; };

static void *touch(void *arg)
{
	struct toucher *t = arg;
	const uint8_t *p = w->d.ram + t->frame * 4096;
	int fd, v;

	if (!t->by_kernel) {
		atomic_store(&t->seen, *(volatile const uint8_t *)p);
		return NULL;
	}
	/* a disk's write from a guest's page */
	fd = memfd_create("disk", MFD_CLOEXEC);
	v = pwrite(fd, p, 4096, 0) == 4096 ? 0 : -2;
	if (!v && pread(fd, &v, 1, 77) != 1)
		v = -3;
	close(fd);
	atomic_store(&t->seen, v);
	return NULL;
}

static void begin_touch(struct toucher *t, unsigned frame, bool by_kernel)
{
	*t = (struct toucher){ .frame = frame, .by_kernel = by_kernel };
	atomic_store(&t->seen, -1);
	assert_int_equal(pthread_create(&t->t, NULL, touch, t), 0);
}

static int end_touch(struct toucher *t)
{
	pthread_join(t->t, NULL);
	return atomic_load(&t->seen);
}

/* Who waited for a page may run on before the page is counted. */
static void assert_left(uint64_t n)
{
	for (int ms = 0; hv_pages_left(&w->h) != n && ms < WAIT_MS; ms++)
		usleep(1000);
	assert_int_equal(hv_pages_left(&w->h), n);
}

#define NEEDS_IT() do { if (!can_do()) { print_message("no userfaultfd here: skipped\n"); skip(); } } while (0)

static void test_who_touches_what_is_owed_waits_for_it(void **state)
{
	struct toucher t[3];

	NEEDS_IT();
	come();
	owe(100, 50, false);
	owe(700, 1, true);
	assert_int_equal(hear_owed(), 51);
	assert_int_equal(hv_pages_left(&w->h), 51);
	begin_touch(&t[0], 120, false);
	assert_int_equal(hear_fault(), 120);
	begin_touch(&t[1], 120, false);               /* asked for once, whoever waits */
	begin_touch(&t[2], 700, true);
	assert_int_equal(hear_fault(), 700);
	assert_int_equal(atomic_load(&t[0].seen), -1);
	assert_int_equal(atomic_load(&t[2].seen), -1);
	bring(700, 0x17);
	assert_int_equal(end_touch(&t[2]), 0x17);
	bring(120, 0x42);
	assert_int_equal(end_touch(&t[0]), 0x42);
	assert_int_equal(end_touch(&t[1]), 0x42);
	assert_left(49);
}

static void test_what_is_not_owed_is_there_at_once(void **state)
{
	struct toucher t;

	NEEDS_IT();
	come();
	owe(100, 50, true);
	hear_owed();
	assert_int_equal(w->d.ram[99 * 4096], OLD);
	begin_touch(&t, PAGES - 3, false);            /* never touched: zero, and nobody is asked */
	assert_int_equal(end_touch(&t), 0);
	begin_touch(&t, PAGES - 4, true);
	assert_int_equal(end_touch(&t), 0);
	assert_int_equal(hear(body, &body_n, &count, 50), 0);
}

static void test_what_is_there_is_not_written_over(void **state)
{
	struct pages_run zeros = { 90, 20 };

	NEEDS_IT();
	come();
	owe(100, 2, true);
	hear_owed();
	bring(99, 0x11);                              /* not owed */
	bring(100, 0x22);
	assert_left(1);                               /* touched before, it would be asked for */
	bring(100, 0x33);                             /* again */
	w->d.ram[100 * 4096] = 0x44;                  /* the guest's own */
	bring(100, 0x55);
	say(PAGES_ZEROS, 1, &zeros, sizeof zeros);    /* 101 alone is owed of it */
	assert_int_equal(hear(body, &body_n, &count, WAIT_MS), PAGES_PRESENT);
	assert_int_equal(w->d.ram[99 * 4096], OLD);
	assert_int_equal(w->d.ram[100 * 4096], 0x44);
	assert_int_equal(w->d.ram[100 * 4096 + 1], 0x22);
	assert_int_equal(w->d.ram[101 * 4096], 0);
	assert_int_equal(w->d.ram[102 * 4096], OLD);
	assert_int_equal(hv_pages_left(&w->h), 0);
	assert_false(atomic_load(&w->d.pages_owed));
}

static void test_another_worker_goes_on(void **state)
{
	struct toucher t[2];

	NEEDS_IT();
	owe(100, 50, true);
	begin_touch(&t[0], 110, false);               /* before anybody is there to be asked */
	usleep(50000);
	come();
	assert_int_equal(hear_owed(), 50);
	assert_int_equal(hear_fault(), 110);
	bring(130, 1);
	begin_touch(&t[1], 111, true);
	assert_int_equal(hear_fault(), 111);
	close(w->worker);                             /* killed */
	come();
	assert_int_equal(hear_owed(), 49);
	assert_int_equal(hear_fault() + hear_fault(), 110 + 111);
	bring(110, 2);
	bring(111, 3);
	assert_int_equal(end_touch(&t[0]), 2);
	assert_int_equal(end_touch(&t[1]), 3);
}

static void test_a_later_worker_takes_the_place_of_an_earlier(void **state)
{
	int first;

	NEEDS_IT();
	come();
	owe(100, 5, true);
	hear_owed();
	first = w->worker;
	come();
	assert_int_equal(hear_owed(), 5);
	assert_int_equal(recv(first, body, sizeof body, 0), 0);
	close(first);
}

static void test_who_brings_what_he_must_not_is_sent_away(void **state)
{
	static const struct { uint32_t kind, count; size_t bytes; uint64_t word; } bad[] = {
		{ PAGES_DATA, 1, 8 + 4096, PAGES }, { PAGES_DATA, 1, 8 + 4096, UINT64_MAX }, { PAGES_DATA, 2, 8 + 4096, 100 },
		{ PAGES_DATA, 17, 8 + 4096, 100 }, { PAGES_DATA, 0, 0, 0 }, { PAGES_DATA, UINT32_MAX, 64, 0 }, { PAGES_ZEROS, 1, 8, 100 },
		{ PAGES_ZEROS, 1, 16, PAGES }, { PAGES_ZEROS, UINT32_MAX, 16, 100 }, { PAGES_FAULT, 1, 8, 100 }, { 99, 0, 0, 0 },
	};

	NEEDS_IT();
	owe(100, 5, true);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		uint8_t data[PAGES_PACKET_MAX] = { 0 };

		come();
		assert_int_equal(hear_owed(), 5);
		memcpy(data, &bad[i].word, 8);
		say(bad[i].kind, bad[i].count, data, bad[i].bytes);
		assert_int_equal(hear(body, &body_n, &count, WAIT_MS), -1);
		close(w->worker);
	}
	w->worker = -1;
	assert_int_equal(hv_pages_left(&w->h), 5);
	assert_int_equal(w->d.ram[99 * 4096], OLD);
}

static void test_strangers_are_refused(void **state)
{
	static const struct { uint64_t attempt; const char *from; } stranger[] = { { 4, "n1" }, { 5, "n2" }, { 6, "n1" } };

	NEEDS_IT();
	owe(100, 5, true);
	for (size_t i = 0; i < 3; i++) {
		json_t *answer = greet(stranger[i].attempt, stranger[i].from);

		assert_false(json_is_true(json_object_get(answer, "ok")));
		json_decref(answer);
		close(w->worker);
	}
	w->worker = -1;
}

static void test_what_the_guest_gives_up_is_not_waited_for(void **state)
{
	struct toucher t;

	NEEDS_IT();
	come();
	owe(100, 2, true);
	hear_owed();
	begin_touch(&t, 100, false);
	assert_int_equal(hear_fault(), 100);
	hv_pages_forget(&w->h, 100, 1);
	assert_int_equal(end_touch(&t), 0);
	hv_pages_forget(&w->h, 101, 1);
	assert_int_equal(hear(body, &body_n, &count, WAIT_MS), PAGES_PRESENT);
}

static void test_a_source_that_has_no_more_is_asked_again(void **state)
{
	NEEDS_IT();
	come();
	owe(100, 2, true);
	hear_owed();
	bring(100, 1);
	say(PAGES_EXHAUSTED, 0, "", 0);
	assert_int_equal(hear_owed(), 1);
	bring(101, 1);
	assert_int_equal(hear(body, &body_n, &count, WAIT_MS), PAGES_PRESENT);
}

static void test_nothing_owed_is_present_at_once(void **state)
{
	NEEDS_IT();
	come();
	owe(0, 0, true);
	/* told of an empty set, or of its end: one of the two */
	for (int kind = 0; kind != PAGES_PRESENT; ) {
		kind = hear(body, &body_n, &count, WAIT_MS);
		assert_in_range(kind, PAGES_OWED_END, PAGES_PRESENT);
	}
}

static void test_every_word_of_a_bitmap_counts(void **state)
{
	unsigned n = 0;

	NEEDS_IT();
	come();
	owe(0, 1, false);
	owe(63, 2, false);
	owe(128, 128, false);
	owe(320, 65, false);
	owe(PAGES - 1, 1, false);
	owe(1000, 7, true);
	assert_int_equal(hear_owed(), 1 + 2 + 128 + 65 + 1 + 7);
	for (unsigned f = 0; f < PAGES - 100; f++) {
		off_t data = lseek(w->d.ram_fd, (off_t)f * 4096, SEEK_DATA);

		n += data != (off_t)f * 4096;
	}
	assert_int_equal(n, 1 + 2 + 128 + 65 + 7);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_who_touches_what_is_owed_waits_for_it), CASE(test_what_is_not_owed_is_there_at_once),
		CASE(test_what_is_there_is_not_written_over), CASE(test_another_worker_goes_on),
		CASE(test_a_later_worker_takes_the_place_of_an_earlier), CASE(test_who_brings_what_he_must_not_is_sent_away),
		CASE(test_strangers_are_refused), CASE(test_what_the_guest_gives_up_is_not_waited_for),
		CASE(test_a_source_that_has_no_more_is_asked_again), CASE(test_nothing_owed_is_present_at_once),
		CASE(test_every_word_of_a_bitmap_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
