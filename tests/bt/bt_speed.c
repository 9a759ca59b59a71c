/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bt_speed.c - slowdown of translated code against native, for a few compiled loops; prints a table.
 *
 *	bt_speed [kernel...]
 *
 * With CACHE=FILE in the environment the code cache is written to FILE at the end, for objdump -b binary (HV_BT_TRACE=block says
 * which block is where).  The loops are position-independent functions of bt_kernels.c, copied to the test's code pages as one piece.
 */
#include <math.h>
#include <time.h>

#include "tests/bt/bt_guest.h"
#include "tests/bt/bt_kernels.h"

#define ROUNDS 20

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000UL + (uint64_t)ts.tv_nsec;
}

static void state(struct btn_state *s, uint64_t entry)
{
	static const uint16_t fcw = 0x37f;
	static const uint32_t mxcsr = 0x1f80;
	static const uint64_t bv = 7;

	memset(s, 0, sizeof(*s));
	s->rip = entry;
	s->rflags = 0x202;
	s->gpr[REG_RDI] = BTN_DATA_VA;
	s->gpr[REG_RSP] = BTN_STACK_VA + BTN_STACK_PAGES * 4096 - 16;
	memcpy(s->xsave, &fcw, 2);
	memcpy(s->xsave + 24, &mxcsr, 4);
	memcpy(s->xsave + 512, &bv, 8);
}

/* Where a run ends: native ud2, translated syscall. */
static void put_end(uint8_t *mem, unsigned b) { mem[0] = 0x0f; mem[1] = (uint8_t)b; }

int main(int argc, char **argv)
{
	struct btn_shared *nat = btn_start();
	struct btg *g;
	double log_sum = 0;
	unsigned n = 0;

	if (!nat)
		return 1;
	g = btg_new(4 << 20);
	/* the hole and the read-only page are of no use here */
	btg_map(g, BTN_DATA_VA, BTN_DATA_PAGES, BTN_CODE_PAGES);
	for (const struct bt_kernel *k = bt_kernel_table; k->name; k++) {
		uint64_t native, best = UINT64_MAX, size = (uint64_t)(__stop_bt_kernels - __start_bt_kernels);
		uint64_t entry = BTN_CODE_VA + 64 + (uint64_t)((const uint8_t *)(uintptr_t)k->fn - __start_bt_kernels);
		uint64_t end = BTN_CODE_VA;
		static struct btn_state s;

		if (argc > 1 && strcmp(argv[1], k->name))
			continue;
		if (size > BTN_CODE_PAGES * 4096 - 64)
			return 1;
		state(&s, entry);
		memset(nat->mem, 0, sizeof(nat->mem));
		memcpy(nat->mem + 64, __start_bt_kernels, size);
		put_end(nat->mem, 0x0b);
		memcpy(nat->mem + (s.gpr[REG_RSP] - BTN_STACK_VA) + (BTN_CODE_PAGES + BTN_DATA_PAGES) * 4096, &end, 8);
		memcpy(btg_mem(g), nat->mem, sizeof(nat->mem));
		put_end(btg_mem(g), 0x05);
		btg_written(g, 0, BTN_CODE_PAGES);
		nat->in = s;
		native = UINT64_MAX;
		/* in turns, and the best of each: the machine is never quiet */
		for (int i = 0; i < ROUNDS; i++) {
			uint64_t t = btn_time(nat, 1);

			if (t < native)
				native = t;
			btg_load(g, &s);
			t = now_ns();
			if (btg_run(g) != EXIT_SYSCALL) {
				fprintf(stderr, "%s: ended at %#lx, vector %u\n", k->name, g->v->regs.rip, g->v->exc.vector);
				return 1;
			}
			t = now_ns() - t;
			if (t < best)
				best = t;
		}
		if (nat->out.gpr[REG_RAX] != g->v->regs.gpr[REG_RAX])
			fprintf(stderr, "%s: results differ: %#lx, %#lx\n", k->name, nat->out.gpr[REG_RAX],
				g->v->regs.gpr[REG_RAX]);
		printf("%-8s native %8.3f ms, translated %8.3f ms: %.2f\n", k->name, (double)native / 1e6, (double)best / 1e6,
		       (double)best / (double)native);
		fflush(stdout);
		log_sum += log((double)best / (double)native);
		n++;
	}
	if (getenv("CACHE")) {
		FILE *f = fopen(getenv("CACHE"), "w");

		if (!f || fwrite(g->d.bt->rw, 1, g->d.bt->size, f) != g->d.bt->size || fclose(f))
			perror(getenv("CACHE"));
	}
	printf("geometric mean %.2f\n", exp(log_sum / n));
	btn_stop();
	return 0;
}
