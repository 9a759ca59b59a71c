/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile peer's or file's "domain" and "vcpu" records: the input is a list of edits to the records of a guest that ran.
 *
 *   first octet                     which record: even the domain's, odd vCPU 0's
 *   0 at(2) n octets…               written over the record there
 *   1 at(2) n                       n octets cut out
 *   2 at(2) n octets…               put in
 *   3 at(2)                         the record ends there
 *
 * Refused or accepted; what is accepted is run on, and is a state that can be written and read once more: a guest that came can leave.
 */
#include "tests/fuzz/fuzz.h"

#include "lib/buf.h"
#include "tests/unit/abi_fake.h"

#define ROUNDS 200u                     /* of fake_run_on(), each fifteenth of them */
#define RECORD_MAX 16384u

/* runs: one frame of the second list moved, values, counts; ports; the vCPU's tables of frames and its XSAVE area */
static const uint8_t seed_held[] = { 0, 0, 16, 0, 4, 1, 0, 0, 0, 0, 20, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0 };
static const uint8_t seed_tables[] = { 0, 0, 68, 0, 4, 2, 0, 0, 0, 0, 84, 0, 1, 4, 1, 60, 0, 16 };
static const uint8_t seed_ports[] = { 0, 0, 180, 0, 8, 1, 0, 0, 0, 4, 0, 1, 0, 2, 200, 0, 4, 9, 9, 9, 9 };
static const uint8_t seed_end[] = { 0, 3, 120, 0 };
static const uint8_t seed_vcpu[] = { 1, 0, 8, 0, 8, 255, 255, 255, 255, 255, 255, 255, 255, 0, 190, 0, 2, 51, 0 };
static const uint8_t seed_frames[] = { 1, 0, 24, 1, 4, 14, 0, 0, 0, 3, 0, 2 };
static const uint8_t seed_xsave[] = { 1, 0, 128, 18, 8, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 16, 8 };
#define SEED(a) { a, sizeof(a) }
const struct fuzz_seed fuzz_seeds[] = { SEED(seed_held), SEED(seed_tables), SEED(seed_ports), SEED(seed_end), SEED(seed_vcpu), SEED(seed_frames),
					SEED(seed_xsave), { NULL, 0 } };

static struct domain *d;
static struct buf good_domain, good_vcpu;

/* ---- the guest whose records are edited ---- */

static void guest_make(void)
{
	d = fake_busy_domain();
	buf_init(&good_domain, RECORD_MAX);
	buf_init(&good_vcpu, RECORD_MAX);
	if (abi_domain_save(d, &good_domain) || abi_vcpu_save(d->vcpu[0], &good_vcpu))
		abort();
}

/* ---- the edits ---- */

/* The record after all edits, malloc'd in its own size, so that ASan sees a read too far. */
static uint8_t *edited(const struct buf *good, struct reader *r, size_t *ret_len)
{
	static uint8_t rec[RECORD_MAX];
	size_t len = good->len;
	uint8_t *p;

	memcpy(rec, good->data, len);
	while (r->left >= 3) {
		unsigned what = reader_u8(r) % 4;
		size_t at = reader_u16(r) % (len + 1), n = what == 3 ? 0 : reader_u8(r);
		const uint8_t *with = what == 0 || what == 2 ? reader_view(r, n < r->left ? n : r->left) : NULL;

		n = with && n > (size_t)(r->p - with) ? (size_t)(r->p - with) : n;
		if (what == 0 && with) {
			memcpy(rec + at, with, n < len - at ? n : len - at);
		} else if (what == 1) {
			n = n < len - at ? n : len - at;
			memmove(rec + at, rec + at + n, len - at - n);
			len -= n;
		} else if (what == 2 && with && len + n <= RECORD_MAX) {
			memmove(rec + at + n, rec + at, len - at);
			memcpy(rec + at, with, n);
			len += n;
		} else if (what == 3) {
			len = at;
		}
	}
	p = malloc(len ? len : 1);
	memcpy(p, rec, len);
	*ret_len = len;
	return p;
}

/* ---- what is accepted ---- */

static int comes_back(void)
{
	struct buf dom, cpu;
	int rc;

	buf_init(&dom, RECORD_MAX);
	buf_init(&cpu, RECORD_MAX);
	rc = abi_domain_save(d, &dom) || abi_vcpu_save(d->vcpu[0], &cpu) || abi_domain_load(d, dom.data, dom.len) ||
	     abi_vcpu_load(d->vcpu[0], cpu.data, cpu.len);
	buf_free(&dom);
	buf_free(&cpu);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r;
	uint8_t *record;
	size_t len;
	int rc = 0;
	bool of_vcpu, accepted;

	if (!d)
		guest_make();
	reader_init(&r, data, size);
	of_vcpu = reader_u8(&r) % 2;
	record = edited(of_vcpu ? &good_vcpu : &good_domain, &r, &len);
	if (of_vcpu)
		accepted = abi_vcpu_load(d->vcpu[0], record, len) == 0;
	else    /* the vCPU's record comes after it, and is refused where a frame it needs is not held any more */
		accepted = abi_domain_load(d, record, len) == 0 && abi_vcpu_load(d->vcpu[0], good_vcpu.data, good_vcpu.len) == 0;
	if (accepted)
		rc = comes_back();
	for (unsigned round = 0; accepted && rc == 0 && round < ROUNDS; round += 15)
		fake_run_on(d, round);
	if (rc == 0)
		rc = abi_domain_load(d, good_domain.data, good_domain.len) || abi_vcpu_load(d->vcpu[0], good_vcpu.data, good_vcpu.len);
	free(record);
	return rc;
}
