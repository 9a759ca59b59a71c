/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench_kernel.c - what a program asks of its kernel: system calls, processes, faults, switches.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"

static void must(long r) { if (r < 0) abort(); }

static uint64_t getppid_(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < 500000; i++)
		sum |= (uint64_t)syscall(SYS_getppid);
	return sum != 0 || getpid() == 1;
}

static void reap(pid_t pid)
{
	int status;

	must(pid);
	must(waitpid(pid, &status, 0));
	if (status)
		abort();
}

static uint64_t fork_wait(void)
{
	for (int i = 0; i < 1000; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		reap(pid);
	}
	return 1;
}

static uint64_t execve_(void)
{
	for (int i = 0; i < 500; i++) {
		pid_t pid = vfork();

		if (!pid) {
			execl("/proc/self/exe", "bench", BENCH_NOTHING, (char *)NULL);
			_exit(1);
		}
		reap(pid);
	}
	return 1;
}

#define FAULT_PAGES 16384UL

static uint64_t page_fault(void)
{
	uint64_t sum = 0;

	for (int round = 0; round < 2; round++) {
		volatile uint8_t *p = mmap(NULL, FAULT_PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			abort();
		madvise((void *)(uintptr_t)p, FAULT_PAGES * 4096, MADV_NOHUGEPAGE);
		for (unsigned long i = 0; i < FAULT_PAGES; i++)
			sum += p[i * 4096]++ + 1UL;
		munmap((void *)(uintptr_t)p, FAULT_PAGES * 4096);
	}
	return sum;
}

static uint64_t mmap_munmap(void)
{
	for (int i = 0; i < 60; i++) {
		volatile uint8_t *p = mmap(NULL, 1000 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			abort();
		madvise((void *)(uintptr_t)p, 1000 * 4096, MADV_NOHUGEPAGE);
		for (unsigned k = 0; k < 1000; k++)
			p[k * 4096] = (uint8_t)k;
		munmap((void *)(uintptr_t)p, 1000 * 4096);
	}
	return 1;
}

/* A byte goes round a ring of processes joined by pipes: each hop is a write, a switch and a read. */
static uint64_t ring(unsigned processes, unsigned rounds)
{
	int fd[8][2];
	pid_t pid[8];
	char c = 1;

	for (unsigned i = 0; i < processes; i++)
		must(pipe(fd[i]));
	for (unsigned i = 1; i < processes; i++) {
		pid[i] = fork();
		must(pid[i]);
		if (pid[i])
			continue;
		for (unsigned r = 0; r < rounds; r++)
			if (read(fd[i][0], &c, 1) != 1 || write(fd[(i + 1) % processes][1], &c, 1) != 1)
				_exit(1);
		_exit(0);
	}
	for (unsigned r = 0; r < rounds; r++) {
		must(write(fd[1][1], &c, 1));
		must(read(fd[0][0], &c, 1));
	}
	for (unsigned i = 1; i < processes; i++)
		reap(pid[i]);
	for (unsigned i = 0; i < processes; i++) {
		close(fd[i][0]);
		close(fd[i][1]);
	}
	return (uint64_t)c;
}

static uint64_t pipe_ping(void) { return ring(2, 20000); }
static uint64_t switch_8(void) { return ring(8, 5000); }

const struct bench bench_kernel_table[] = {
	{ "getppid", getppid_ }, { "fork_wait", fork_wait }, { "execve", execve_ }, { "page_fault", page_fault },
	{ "pipe_pingpong", pipe_ping }, { "switch_8", switch_8 }, { "mmap_munmap", mmap_munmap }, { NULL, NULL },
};
