/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who is raised gets processors first, passes it on to nobody, and is as before once lowered; others' priorities are left alone. */
#include "config.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/hurry.h"

static int policy(pid_t tid)
{
	return sched_getscheduler(tid) & ~SCHED_RESET_ON_FORK;
}

static int level(pid_t tid)
{
	struct sched_param p = { 0 };

	assert_int_equal(sched_getparam(tid, &p), 0);
	return p.sched_priority;
}

static bool possible(void)
{
	int rc = hurry_raise(0, HURRY_HELPER);

	hurry_lower(0);
	assert_true(rc == 0 || rc == -EPERM);
	return rc == 0;
}

static void *own_policy(void *arg)
{
	return (void *)(intptr_t)policy(0);
}

static void passed_on_to_nobody(void **state)
{
	pthread_t t;
	void *of_thread;
	int status;
	pid_t pid;

	if (!possible())
		skip();
	assert_int_equal(hurry_raise(0, HURRY_HELPER), 0);
	assert_int_equal(policy(0), SCHED_RR);
	assert_int_equal(level(0), HURRY_HELPER);
	assert_int_equal(pthread_create(&t, NULL, own_policy, NULL), 0);
	pthread_join(t, &of_thread);
	pid = fork();
	if (pid == 0)
		_exit(policy(0));
	waitpid(pid, &status, 0);
	hurry_lower(0);
	assert_int_equal((intptr_t)of_thread, SCHED_OTHER);
	assert_int_equal(WEXITSTATUS(status), SCHED_OTHER);
	assert_int_equal(policy(0), SCHED_OTHER);
}

static void others_are_left_alone(void **state)
{
	const struct sched_param higher = { .sched_priority = HURRY_HELPER + 1 }, none = { 0 };

	if (!possible())
		skip();
	assert_int_equal(sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &higher), 0);
	hurry_lower(0);
	assert_int_equal(level(0), higher.sched_priority);
	sched_setscheduler(0, SCHED_OTHER, &none);
}

static void heirs_are_raised_from_the_first(void **state)
{
	pthread_t t;
	void *of_thread;

	if (!possible())
		skip();
	assert_int_equal(hurry_raise_heirs(HURRY_HELPER), 0);
	assert_int_equal(pthread_create(&t, NULL, own_policy, NULL), 0);
	pthread_join(t, &of_thread);
	hurry_lower(0);
	assert_int_equal((intptr_t)of_thread, SCHED_RR);
	assert_int_equal(policy(0), SCHED_OTHER);
}

static pthread_barrier_t barrier;
static pid_t guest_tid;

static void *guest(void *arg)
{
	prctl(PR_SET_NAME, "guest7");
	guest_tid = (pid_t)syscall(SYS_gettid);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

static void one_kind_of_threads_at_a_time(void **state)
{
	pthread_t t;

	if (!possible())
		skip();
	pthread_barrier_init(&barrier, NULL, 2);
	assert_int_equal(pthread_create(&t, NULL, guest, NULL), 0);
	pthread_barrier_wait(&barrier);
	assert_int_equal(hurry_raise_process(getpid(), "guest", HURRY_HELPER), 0);
	assert_int_equal(policy(0), SCHED_RR);
	assert_int_equal(policy(guest_tid), SCHED_OTHER);
	assert_int_equal(hurry_raise_process(getpid(), "guest", HURRY_GUEST), 0);
	assert_int_equal(level(0), HURRY_HELPER);
	assert_int_equal(level(guest_tid), HURRY_GUEST);
	hurry_lower_process(getpid());
	assert_int_equal(policy(0), SCHED_OTHER);
	assert_int_equal(policy(guest_tid), SCHED_OTHER);
	pthread_barrier_wait(&barrier);
	pthread_join(t, NULL);
}

static void no_such_process(void **state)
{
	assert_int_equal(hurry_raise(0x3fffffff, HURRY_HELPER), -ESRCH);
	assert_true(hurry_raise_process(0x3fffffff, "guest", HURRY_HELPER) < 0);
	hurry_lower(0x3fffffff);
	hurry_lower_process(0x3fffffff);
}

static void put(const char *root, const char *path, const char *text)
{
	char full[300];
	FILE *f;

	for (size_t i = 1; path[i]; i++) {
		if (path[i] != '/')
			continue;
		snprintf(full, sizeof(full), "%s%.*s", root, (int)i, path);
		assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
	}
	snprintf(full, sizeof(full), "%s%s", root, path);
	f = fopen(full, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int rm(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void the_share_is_the_smaller_of_all_and_group(void **state)
{
#define FOR_ALL "/proc/sys/kernel/sched_rt_"
#define GROUP "/sys/fs/cgroup/cpu/"
	char root[] = "/tmp/test_hurry-XXXXXX";

	assert_non_null(mkdtemp(root));
	assert_int_equal(hurry_share(root, 7), 100);                 /* nothing is said */
	put(root, FOR_ALL "runtime_us", "950000\n");
	assert_int_equal(hurry_share(root, 7), 100);
	put(root, FOR_ALL "period_us", "1000000\n");
	assert_int_equal(hurry_share(root, 7), 95);
	put(root, "/proc/7/cgroup", "0::/v2/has/none\n");
	assert_int_equal(hurry_share(root, 7), 95);
	put(root, GROUP "v2/has/none/cpu.rt_runtime_us", "0\n");     /* another hierarchy's */
	put(root, GROUP "v2/has/none/cpu.rt_period_us", "1000000\n");
	assert_int_equal(hurry_share(root, 7), 95);
	put(root, "/proc/7/cgroup", "9:memory:/m\n4:cpuset:/s\n3:cpuacct,cpu:/a/b\n0::/v2/has/none\n");
	assert_int_equal(hurry_share(root, 7), 95);                  /* a kernel without CONFIG_RT_GROUP_SCHED */
	put(root, GROUP "a/b/cpu.rt_runtime_us", "10000\n");
	put(root, GROUP "a/b/cpu.rt_period_us", "1000000\n");
	assert_int_equal(hurry_share(root, 7), 1);
	put(root, GROUP "a/b/cpu.rt_runtime_us", "0\n");
	assert_int_equal(hurry_share(root, 7), 0);
	put(root, GROUP "a/b/cpu.rt_runtime_us", "990000\n");
	assert_int_equal(hurry_share(root, 7), 95);
	put(root, FOR_ALL "runtime_us", "-1\n");
	assert_int_equal(hurry_share(root, 7), 99);
	put(root, GROUP "a/b/cpu.rt_runtime_us", "-1\n");
	assert_int_equal(hurry_share(root, 7), 100);
	put(root, FOR_ALL "runtime_us", "490000\n");
	assert_int_equal(hurry_share(root, 7), 49);
	put(root, GROUP "a/b/cpu.rt_runtime_us", "nonsense\n");
	put(root, FOR_ALL "period_us", "0\n");
	assert_int_equal(hurry_share(root, 7), 100);
	assert_int_equal(nftw(root, rm, 8, FTW_DEPTH | FTW_PHYS), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_share_is_the_smaller_of_all_and_group),
		cmocka_unit_test(passed_on_to_nobody),
		cmocka_unit_test(others_are_left_alone),
		cmocka_unit_test(heirs_are_raised_from_the_first),
		cmocka_unit_test(one_kind_of_threads_at_a_time),
		cmocka_unit_test(no_such_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
