/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's own TSC: RDTSC never steps back, nor far ahead, by whichever way it is read (an instruction of kernel or user code, the
 * MSR), leaves flags and registers alone, counts at the rate that CPUID names, and makes the same system time as the hypervisor
 * goes by.  The pair in vcpu_time_info is one for ever.
 *
 * Run as it is, and while the guest goes from host to host whose TSCs count at another rate and have counted to elsewhere (hvrun -R):
 * RDTSC used to go on from the other host's count then.
 */
#include "micro_guest.h"

const char guest_name[] = "tsc";

#define MS 1000000UL
#define FAR 10000000000UL               /* ns that a vCPU may stand still on a stolen host */

static volatile unsigned ticks;
static volatile uint64_t due;

/* The hypervisor says that it is time: then it is by the guest's clock as well. */
static void on_event(uint32_t port)
{
	CHECK(system_time(0) >= due);
	ticks++;
}

static uint64_t rdmsr_tsc(void)
{
	uint32_t a, d;

	__asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(0x10));
	return (uint64_t)d << 32 | a;
}

static uint64_t user_tsc(void)
{
	static const uint8_t code[] = { 0x0f, 0x31, 0xcc };      /* rdtsc; int3 */

	run_user(code, sizeof(code));
	CHECK_EQ(back.rax >> 32, 0);
	CHECK_EQ(back.rdx >> 32, 0);
	return back.rdx << 32 | back.rax;
}

/* Between instructions that set and use flags and many registers. */
static void leaves_the_rest_alone(uint64_t x)
{
	uint64_t flags, sum;
	uint8_t carry, sign;

	__asm__ volatile("lea 1(%[x]), %%rcx\n\tlea 2(%[x]), %%rsi\n\tlea 3(%[x]), %%r8\n\tlea 4(%[x]), %%r9\n\tlea 5(%[x]), %%r10\n\tlea 6(%[x]), %%r11\n\t"
			 "mov $-1, %%rdi\n\tadd $1, %%rdi\n\trdtsc\n\tpushf\n\tpop %[f]\n\tsetc %[c]\n\tsets %[s]\n\t"
			 "mov %%rcx, %[sum]\n\tadd %%rsi, %[sum]\n\tadd %%r8, %[sum]\n\tadd %%r9, %[sum]\n\tadd %%r10, %[sum]\n\tadd %%r11, %[sum]"
			 : [f] "=&r"(flags), [c] "=&r"(carry), [s] "=&r"(sign), [sum] "=&r"(sum) : [x] "r"(x)
			 : "rax", "rdx", "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc", "memory");
	CHECK_EQ(flags & 0x8d5, 0x55);                          /* CF PF AF ZF */
	CHECK_EQ(carry, 1);
	CHECK_EQ(sign, 0);
	CHECK_EQ(sum, 6 * x + 21);
}

static uint64_t told_khz(void)
{
	uint32_t a = 0x40000003, b, c = 0, d;

	__asm__ volatile("ud2\n\t.ascii \"xen\"\n\tcpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return c;
}

struct moment { uint64_t tsc, ns; };

/* Both clocks at once: read again as long as a host's time slice, or a move, came between them. */
static struct moment moment(uint64_t khz)
{
	struct moment m;
	uint64_t after;

	do {
		m.tsc = rdtsc();
		m.ns = system_time(0);
		after = rdtsc();
	} while (after - m.tsc > khz / 10);
	return m;
}

void guest_main(void)
{
	const struct vcpu_time_info was = vcpu_info(0)->time;
	struct vcpu_set_singleshot_timer t = { 0 };
	uint64_t khz = told_khz(), last, far, end;
	struct moment first = moment(khz);
	unsigned rounds = 0;

	CHECK(khz > 100000);
	last = first.tsc;
	end = first.ns + 700 * MS;
	far = FAR / 1000000 * khz;
	user_tables(false);
	bind_virq(VIRQ_TIMER, 0);
	event_hook = on_event;
	events_on();
	while (system_time(0) < end || ticks < 3) {     /* a host that stands still leaves little of that time */
		for (unsigned i = 0; i < 200; i++) {
			uint64_t now = i % 3 ? rdtsc() : rdmsr_tsc();

			CHECK(now >= last);
			CHECK(now - last < far);
			last = now;
		}
		leaves_the_rest_alone(last);
		if (rounds++ % 16 == 0) {
			uint64_t now = user_tsc();

			CHECK(now >= last);
			CHECK(now - last < far);
			last = now;
			due = t.timeout_abs_ns = system_time(0) + MS;
			CHECK_EQ(vcpu_op(VCPUOP_set_singleshot_timer, 0, &t), 0);
		}
	}
	CHECK_EQ(told_khz(), khz);
	if (was.flags & XEN_PVCLOCK_TSC_STABLE_BIT) {
		struct moment second = moment(khz);
		uint64_t ns = second.ns - first.ns, ticks_ns = (second.tsc - first.tsc) * 1000 / (khz / 1000);
		CHECK_EQ(vcpu_info(0)->time.tsc_timestamp, was.tsc_timestamp);
		CHECK_EQ(vcpu_info(0)->time.system_time, was.system_time);
		CHECK_EQ(vcpu_info(0)->time.tsc_to_system_mul, was.tsc_to_system_mul);
		CHECK(ticks_ns < ns + ns / 1000 + MS && ns < ticks_ns + ticks_ns / 1000 + MS);
	}
}
