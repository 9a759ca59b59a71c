/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * state_keeper.c - /init of the guest of tests/hypervisor/test-save-compare and test-hand-over: work whose state a save, a restore and a
 * move must not touch.
 *
 *   vectors   all sixteen vector registers (AVX where there is), MXCSR and the x87 control word hold values through a long loop
 *   bases     FS and GS base, and a value behind each
 *   memory    8 MiB, each word depends on its address and on the round
 *   children  fork, exit status, wait
 *   pipes     a number goes round between two processes
 *   clocks    CLOCK_MONOTONIC never steps back, a timer's signal comes
 *   store     a transaction that takes a while commits what it wrote or ends in EAGAIN, a watch tells of each commit
 *   debug     a watchpoint in the debug registers stops a child at each write to a word, and nowhere else; not with no_watchpoint=1 on
 *             the kernel's command line: a vCPU that has one armed runs in the emulator, and takes a second where others wait for it;
 *             with no_store=1 neither this nor the store
 *
 * Each is a process of its own; ten times a second one line on the console: "alive" and what each has counted, "errors N"; now and then
 * another, "clocks" and the seconds of CLOCK_MONOTONIC and CLOCK_REALTIME.
 */
#include <cpuid.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <xen/io/xs_wire.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 8
#define ARCH_SET_GS 0x1001
#define ARCH_GET_GS 0x1004

struct shared { volatile uint64_t count[WORKERS], errors; };
static struct shared *s;

static void wrong(const char *what)
{
	__atomic_add_fetch(&s->errors, 1, __ATOMIC_SEQ_CST);
	printf("WRONG: %s\n", what);
}

static uint64_t mix(uint64_t a, uint64_t b) { return (a * 0x9e3779b97f4a7c15UL) ^ (b * 0xbf58476d1ce4e5b9UL); }

/* ---- vectors ---- */

struct vectors { uint8_t v[16][32]; } __attribute__((aligned(32)));

#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define LOAD_Y(n) "vmovdqa " #n "*32(%[in]), %%ymm" #n "\n\t"
#define STORE_Y(n) "vmovdqa %%ymm" #n ", " #n "*32(%[out])\n\t"
#define LOAD_X(n) "movdqa " #n "*32(%[in]), %%xmm" #n "\n\t"
#define STORE_X(n) "movdqa %%xmm" #n ", " #n "*32(%[out])\n\t"
#define CLOBBERS "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
	"xmm12", "xmm13", "xmm14", "xmm15"

static void hold_avx(const struct vectors *in, struct vectors *out, uint64_t spins)
{
	__asm__ volatile(EACH(LOAD_Y) "1: dec %[n]\n\tjnz 1b\n\t" EACH(STORE_Y) "vzeroupper\n\t"
			 : [n] "+r"(spins) : [in] "r"(in), [out] "r"(out) : CLOBBERS);
}

static void hold_sse(const struct vectors *in, struct vectors *out, uint64_t spins)
{
	__asm__ volatile(EACH(LOAD_X) "1: dec %[n]\n\tjnz 1b\n\t" EACH(STORE_X)
			 : [n] "+r"(spins) : [in] "r"(in), [out] "r"(out) : CLOBBERS);
}

static bool have_avx(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_AVX) && (c & bit_OSXSAVE);
}

static void vectors(volatile uint64_t *count)
{
	static struct vectors in, out;
	bool avx = have_avx();
	uint16_t cw;

	for (uint64_t round = 0;; round++) {
		uint32_t mxcsr = 0x1f80 | (uint32_t)(round & 3) << 13, now;
		uint16_t want = (uint16_t)(0x37f | (round & 3) << 10);

		for (unsigned i = 0; i < sizeof(in); i++)
			in.v[i / 32][i % 32] = (uint8_t)(mix(i, round) >> 13);
		out = in;
		__asm__ volatile("ldmxcsr %0; fldcw %1" : : "m"(mxcsr), "m"(want));
		(avx ? hold_avx : hold_sse)(&in, &out, 200000);
		__asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(now), "=m"(cw));
		if (memcmp(&in, &out, sizeof(in)))
			wrong("vector registers");
		if ((now & ~0x3fU) != mxcsr || cw != want)
			wrong("MXCSR or the x87 control word");
		++*count;
	}
}

/* ---- the others ---- */

static void bases(volatile uint64_t *count)
{
	static __thread uint64_t behind_fs;
	static uint64_t area[2];
	uint64_t base, value;

	for (uint64_t round = 0;; round++) {
		behind_fs = area[round & 1] = round;
		syscall(SYS_arch_prctl, ARCH_SET_GS, &area[round & 1]);
		for (volatile int i = 0; i < 100000; i++)
			;
		__asm__ volatile("mov %%gs:0, %0" : "=r"(value));
		if (behind_fs != round || value != round || syscall(SYS_arch_prctl, ARCH_GET_GS, &base) ||
		    base != (uint64_t)(uintptr_t)&area[round & 1])
			wrong("FS or GS base");
		++*count;
	}
}

static void memory(volatile uint64_t *count)
{
	size_t words = (8 << 20) / sizeof(uint64_t);
	uint64_t *m = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (uint64_t round = 0;; round++) {
		for (size_t i = 0; i < words; i++) {
			if (round && m[i] != mix(i, round - 1))
				wrong("memory");
			m[i] = mix(i, round);
		}
		++*count;
	}
}

static void children(volatile uint64_t *count)
{
	for (uint64_t round = 0;; round++) {
		pid_t pid = fork();
		int status = 0;

		if (pid == 0)
			_exit((int)(round & 63));
		if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != (int)(round & 63))
			wrong("fork, exit and wait");
		++*count;
	}
}

static void pipes(volatile uint64_t *count)
{
	uint64_t n = 0, got;
	int there[2], back[2];

	if (pipe(there) || pipe(back))
		_exit(1);
	if (fork() == 0)
		while (read(there[0], &got, sizeof(got)) == sizeof(got))
			if (write(back[1], &got, sizeof(got)) != sizeof(got))
				_exit(1);
	for (;; n++) {
		if (write(there[1], &n, sizeof(n)) != sizeof(n) || read(back[0], &got, sizeof(got)) != sizeof(got) || got != n)
			wrong("pipes");
		++*count;
	}
}

static volatile sig_atomic_t alarms;
static void on_alarm(int sig) { alarms++; }

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void clocks(volatile uint64_t *count)
{
	struct itimerval every = { { 0, 10000 }, { 0, 10000 } };
	uint64_t last = 0;

	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &every, NULL);
	for (;;) {
		sig_atomic_t before = alarms;
		uint64_t end = now_ns() + 2000000000, t;

		do {
			t = now_ns();
			if (t < last)
				wrong("the clock stepped back");
			last = t;
		} while (alarms == before && t < end);
		/* a save and a restore may lie between, and any length of time: only then is a late signal no fault */
		if (alarms == before)
			pause();
		++*count;
	}
}

/* ---- debug registers ---- */

static volatile long watched;

#define DR(n) offsetof(struct user, u_debugreg[n])
#define DR7_WRITES_OF_8 (1UL | 1UL << 16 | 2UL << 18)       /* DR0, by this process: writes of eight octets */
#define DR7_ASKED 0xffff00ffUL                              /* what is neither fixed nor the kernel's own */

static void written_to(void)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	for (;;) {
		for (volatile int i = 0; i < (watched & 7 ? 2 : 100); i++)
			;
		watched++;
	}
}

static void debug(volatile uint64_t *count)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		written_to();
	waitpid(pid, &status, 0);
	if (ptrace(PTRACE_POKEUSER, pid, DR(0), &watched) || ptrace(PTRACE_POKEUSER, pid, DR(7), DR7_WRITES_OF_8))
		wrong("a watchpoint cannot be set");
	for (long n = 1;; n++) {
		ptrace(PTRACE_CONT, pid, NULL, NULL);
		if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
			wrong("no watchpoint");
			pause();
		}
		if (ptrace(PTRACE_PEEKDATA, pid, &watched, NULL) != n || !(ptrace(PTRACE_PEEKUSER, pid, DR(6), NULL) & 1))
			wrong("a watchpoint was missed, or was none");
		if ((void *)ptrace(PTRACE_PEEKUSER, pid, DR(0), NULL) != &watched ||
		    ((unsigned long)ptrace(PTRACE_PEEKUSER, pid, DR(7), NULL) & DR7_ASKED & 0xf0003) != (DR7_WRITES_OF_8 & 0xf0003))
			wrong("debug registers");
		++*count;
	}
}

/* ---- the store ---- */

#define STORE_PATH "data/keeper"
static int store_fd;
static uint64_t store_events;

static bool store_read(void *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		ssize_t r = read(store_fd, (char *)p + at, n - at);

		if (r <= 0)
			return false;
		at += (size_t)r;
	}
	return true;
}

/* The next message, into body as a string; events are counted.  Its type. */
static uint32_t store_hear(char body[512])
{
	struct xsd_sockmsg m;

	if (!store_read(&m, sizeof(m)) || m.len >= 512 || !store_read(body, m.len)) {
		wrong("the store's answer");
		pause();
	}
	body[m.len] = 0;
	store_events += m.type == XS_WATCH_EVENT;
	return m.type;
}

static uint32_t store_ask(uint32_t type, uint32_t tx, const char *body, size_t n, char answer[512])
{
	struct xsd_sockmsg m = { .type = type, .tx_id = tx, .len = (uint32_t)n };
	char packet[256];
	uint32_t got;

	memcpy(packet, &m, sizeof(m));
	memcpy(packet + sizeof(m), body, n);
	if (write(store_fd, packet, sizeof(m) + n) != (ssize_t)(sizeof(m) + n))
		wrong("a request to the store");
	while ((got = store_hear(answer)) == XS_WATCH_EVENT)
		;
	return got;
}

static long store_value(uint32_t tx)
{
	char answer[512];

	return store_ask(XS_READ, tx, STORE_PATH, sizeof(STORE_PATH), answer) == XS_READ ? atol(answer) : -1;
}

/* One transaction in which n is written, with a while between.  Was it committed? */
static bool store_commit(long n)
{
	char answer[512], body[64] = STORE_PATH;
	uint32_t tx;
	bool ours;

	if (store_ask(XS_TRANSACTION_START, 0, "", 1, answer) != XS_TRANSACTION_START)
		wrong("no transaction begins");
	tx = (uint32_t)strtoul(answer, NULL, 10);
	store_ask(XS_WRITE, tx, body, sizeof(STORE_PATH) + (size_t)sprintf(body + sizeof(STORE_PATH), "%ld", n), answer);
	usleep(20000);
	ours = store_value(tx) == n;
	if (store_value(0) != n - 1)
		wrong("what a transaction wrote is seen outside of it, or what was committed is not");
	if (store_ask(XS_TRANSACTION_END, tx, "T", 2, answer) == XS_TRANSACTION_END) {
		if (!ours)
			wrong("a transaction was committed that had lost what it wrote");
		return true;
	}
	if (strcmp(answer, "EAGAIN") != 0)
		wrong(answer);
	return false;
}

static void store(volatile uint64_t *count)
{
	static const char watch[] = STORE_PATH "\0keeper";
	char answer[512];

	mkdir("/dev/xen", 0755);
	store_fd = open("/dev/xen/xenbus", O_RDWR);
	store_ask(XS_WRITE, 0, STORE_PATH "\0" "0", sizeof(STORE_PATH) + 1, answer);
	if (store_fd < 0 || store_ask(XS_WATCH, 0, watch, sizeof(watch), answer) != XS_WATCH)
		wrong("the store cannot be watched");
	while (!store_events)                           /* a watch begins with one */
		store_hear(answer);
	for (long n = 1;; n++) {
		uint64_t before;

		do
			before = store_events;
		while (!store_commit(n));
		while (store_events == before)
			store_hear(answer);
		if (store_value(0) != n)
			wrong("what was committed is not there");
		++*count;
	}
}

/* Now and then nothing is to be done, as in most guests. */
static void rest(const pid_t *worker, int workers)
{
	for (int i = 0; i < workers; i++)
		kill(worker[i], SIGSTOP);
	usleep(150000);
	for (int i = 0; i < workers; i++)
		kill(worker[i], SIGCONT);
}

int main(void)
{
	static void (*const work[WORKERS])(volatile uint64_t *) = { vectors, bases, memory, children, pipes, clocks, store, debug };
	/* of the kernel's command line */
	int workers = getenv("no_store") ? WORKERS - 2 : getenv("no_watchpoint") ? WORKERS - 1 : WORKERS;
	pid_t worker[WORKERS];
	int fd;

	mount("dev", "/dev", "devtmpfs", 0, NULL);
	fd = open("/dev/hvc0", O_RDWR);
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	setvbuf(stdout, NULL, _IOLBF, 0);
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < workers; i++) {
		worker[i] = fork();
		if (worker[i] == 0)
			work[i](&s->count[i]);
	}
	for (uint64_t n = 1;; n++) {
		printf("alive %lu:", n);
		for (int i = 0; i < workers; i++)
			printf(" %lu", s->count[i]);
		printf(" errors %lu\n", s->errors);
		if (n % 3 == 0)
			printf("clocks %lu %lu\n", now_ns() / 1000000000, (uint64_t)time(NULL));
		usleep(100000);
		if (n % 20 == 0)
			rest(worker, workers);
	}
}
