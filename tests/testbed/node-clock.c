/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * node-clock.c - a node's clocks put wrong: preloaded into all daemons of a node of the test bed (LD_PRELOAD; a
 * shared object).
 *
 *	NODE_CLOCK="OFFSET_NS PPM BASE_NS"
 *	NODE_TSC="KHZ COUNT BASE_NS"			may be left out
 *
 * CLOCK_REALTIME reads OFFSET_NS ahead.  It and CLOCK_MONOTONIC_RAW run PPM parts in a million fast since BASE_NS of
 * the latter, which is one instant for the whole node: whoever measures the TSC by it (hypervisor/host_clock.c) finds
 * a TSC of another rate, as on another machine.  CLOCK_MONOTONIC stays: the kernel's own waits go by it.
 *
 * With NODE_TSC the TSC, too, is another machine's: it counts at KHZ, and stood at COUNT at BASE_NS of
 * CLOCK_MONOTONIC_RAW.  RDTSC is made to fault (PR_SET_TSC) in who measures it and who runs guests (hypervisord and
 * haven-hv-domain), in translated code as in C, and answered here; a program that they start is let go of before its
 * exec, since one that does not have this object could not live with it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL
#define TRAP_GP 13
#define VDSO_BYTES 0x4000UL                      /* more than any has; nothing else lies right behind it */

static long long offset_ns, base_ns;
static double ppm;
static struct { bool on; uint64_t khz, count; long long base_ns; } tsc;
static struct sigaction theirs;                  /* the program's own handler of SIGSEGV */
static int (*real_sigaction)(int sig, const struct sigaction *act, struct sigaction *old);

static long long in_ns(const struct timespec *ts) { return ts->tv_sec * NS_PER_S + ts->tv_nsec; }

/* The kernel's word: the vDSO reads the TSC. */
static long long raw_ns(void)
{
	struct timespec ts;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC_RAW, &ts);
	return in_ns(&ts);
}

/* --- the TSC ----------------------------------------------------------------------------------------------------------- */

static uint64_t node_tsc(void)
{
	uint64_t ns = (uint64_t)(raw_ns() - tsc.base_ns);

	return tsc.count + (uint64_t)((unsigned __int128)ns * tsc.khz / 1000000);
}

/* Bytes of the RDTSC or RDTSCP there; 0: it is neither. */
static unsigned rdtsc_bytes(const uint8_t *p)
{
	if (p[0] != 0x0f)
		return 0;
	return p[1] == 0x31 ? 2 : p[1] == 0x01 && p[2] == 0xf9 ? 3 : 0;
}

static void on_fault(int sig, siginfo_t *si, void *ctx)
{
	greg_t *g = ((ucontext_t *)ctx)->uc_mcontext.gregs;
	uintptr_t rip = (uintptr_t)g[REG_RIP], vdso = getauxval(AT_SYSINFO_EHDR);
	unsigned n = g[REG_TRAPNO] == TRAP_GP ? rdtsc_bytes((const uint8_t *)rip) : 0;
	int saved = errno;
	uint64_t t;

	if (n) {
		/* the vDSO takes a negative count for no clock, and asks the kernel (Linux, arch_vdso_cycles_ok) */
		t = rip - vdso < VDSO_BYTES ? UINT64_MAX : node_tsc();
		g[REG_RAX] = (greg_t)(uint32_t)t;
		g[REG_RDX] = (greg_t)(t >> 32);
		if (n == 3)
			g[REG_RCX] = 0;
		g[REG_RIP] += n;
	} else if (theirs.sa_flags & SA_SIGINFO) {
		theirs.sa_sigaction(sig, si, ctx);
	} else if (theirs.sa_handler != SIG_DFL && theirs.sa_handler != SIG_IGN) {
		theirs.sa_handler(sig);
	} else {
		real_sigaction(sig, &theirs, NULL);       /* it faults again, and ends */
	}
	errno = saved;
}

/* SIGSEGV stays ours; it is delivered as the program asked for, and never held back in another handler. */
int sigaction(int sig, const struct sigaction *restrict act, struct sigaction *restrict old)
{
	struct sigaction ours;

	if (!real_sigaction)
		real_sigaction = (int (*)(int, const struct sigaction *, struct sigaction *))dlsym(RTLD_NEXT, "sigaction");
	if (!tsc.on || !act)
		return real_sigaction(sig, act, old);
	ours = *act;
	sigdelset(&ours.sa_mask, SIGSEGV);
	if (sig != SIGSEGV)
		return real_sigaction(sig, &ours, old);
	if (old)
		*old = theirs;
	theirs = *act;
	ours.sa_sigaction = on_fault;
	ours.sa_flags |= SA_SIGINFO;
	return real_sigaction(sig, &ours, NULL);
}

__sighandler_t signal(int sig, __sighandler_t handler)
{
	struct sigaction act = { .sa_handler = handler, .sa_flags = SA_RESTART }, old;

	return sigaction(sig, &act, &old) ? SIG_ERR : old.sa_handler;
}

/* A fault of RDTSC in a thread that holds SIGSEGV back would end the process. */
int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
	static int (*real)(int how, const sigset_t *set, sigset_t *old);
	sigset_t less;

	if (!real)
		real = (int (*)(int, const sigset_t *, sigset_t *))dlsym(RTLD_NEXT, "pthread_sigmask");
	if (!tsc.on || !set || how == SIG_UNBLOCK)
		return real(how, set, old);
	less = *set;
	sigdelset(&less, SIGSEGV);
	return real(how, &less, old);
}

int execve(const char *path, char *const argv[], char *const env[])
{
	static int (*real)(const char *path, char *const argv[], char *const env[]);

	if (!real)
		real = (int (*)(const char *, char *const[], char *const[]))dlsym(RTLD_NEXT, "execve");
	if (tsc.on)
		prctl(PR_SET_TSC, PR_TSC_ENABLE);
	return real(path, argv, env);
}

static void tsc_begin(const char *how)
{
	struct sigaction none = { .sa_handler = SIG_DFL };
	const char *me = program_invocation_short_name;

	if (strcmp(me, "hypervisord") && strcmp(me, "haven-hv-domain"))
		return;
	if (sscanf(how, "%lu %lu %lld", &tsc.khz, &tsc.count, &tsc.base_ns) != 3) {
		fputs("node-clock: NODE_TSC=\"KHZ COUNT BASE_NS\" is wanted\n", stderr);
		abort();
	}
	tsc.on = true;
	if (sigaction(SIGSEGV, &none, NULL) || prctl(PR_SET_TSC, PR_TSC_SIGSEGV)) {
		perror("node-clock: RDTSC cannot be made to fault");
		abort();
	}
}

/* --- the clocks -------------------------------------------------------------------------------------------------------- */

static bool begun;

__attribute__((constructor)) static void begin(void)
{
	const char *how = getenv("NODE_CLOCK"), *count = getenv("NODE_TSC");

	if (begun)
		return;
	begun = true;
	if (!how || sscanf(how, "%lld %lf %lld", &offset_ns, &ppm, &base_ns) != 3) {
		fputs("node-clock: NODE_CLOCK=\"OFFSET_NS PPM BASE_NS\" is needed\n", stderr);
		abort();
	}
	if (count)
		tsc_begin(count);
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	long long t;

	if (!begun)                              /* before the constructor: whoever asks so early does not compare */
		begin();
	if (syscall(SYS_clock_gettime, id, ts))
		return -1;
	if (id != CLOCK_REALTIME && id != CLOCK_MONOTONIC_RAW)
		return 0;
	t = in_ns(ts) + (long long)((double)(raw_ns() - base_ns) * ppm / 1e6);
	t += id == CLOCK_REALTIME ? offset_ns : 0;
	ts->tv_sec = t / NS_PER_S;
	ts->tv_nsec = t % NS_PER_S;
	return 0;
}

time_t time(time_t *ret)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (ret)
		*ret = ts.tv_sec;
	return ts.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}
