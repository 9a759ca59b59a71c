/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hv_domain_run.c - the guest's life inside hv-domain: built, executing, standing still, ended.
 *
 * Whether vCPUs execute is decided in one place, hv_sync_execution(), from the copy's state, the guest's own shutdown and
 * whether the devices stand still.
 */
#include "hypervisor/engine/bt/cpuid.h"
#include "hypervisor/hv_domain.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xen/sched.h>
#include "hypervisor/build/kernel_unpack.h"
#include "hypervisor/build/pv_start.h"
#include "hypervisor/build/ram_ready.h"
#include "hypervisor/hv_domain_image.h"
#include "hypervisor/hv_domain_pages.h"
#include "hypervisor/vcpu_thread.h"
#include "lib/huge.h"
#include "lib/log.h"

#define FILE_MAX KERNEL_UNPACKED_MAX
#define STATS_MS 1000                          /* a status waits no longer for the devices' counters */

void hv_event(struct hv *h, const char *name, json_t *fields)
{
	if (!fields)
		fields = json_object();
	json_object_set_new(fields, "event", json_string(name));
	json_object_set_new(fields, "domid", json_integer(h->d->domid));
	msg_event(h->control, fields);
}

void hv_changed(struct hv *h)
{
	/* attempt and target with the state: who hears of a handed copy alone would judge it by an older attempt */
	hv_event(h, "domain-changed", json_pack("{s:s, s:b, s:I, s:s, s:o, s:O}", "copy", copy_state_name(h->copy.state), "user_paused",
						h->copy.user_paused, "attempt", (json_int_t)h->copy.attempt, "target", h->copy.target,
						"pages", hv_pages_status(h), "serves", h->serves ? h->serves : json_null()));
}

/* --- what it slept --------------------------------------------------------------------------------------------------- */

#define SLEEP_LOOK_NS 20000000u
static bool sleep_looks;

static void sleep_watch(struct hv *h);

/* Until there is a moment at which all vCPUs are halted: abi_domain_settle(), which every resume calls, sees to it then. */
static void sleep_look(void *arg)
{
	struct hv *h = arg;
	uint64_t slept = h->d->clock.slept_ns;

	sleep_looks = false;
	if (!slept || !h->executing)
		return;                                /* the next resume asks again */
	if (!time_sleep_is_over(h->d) && !hv_pages_left(h)) {
		vcpu_threads_pause(h->d);
		vcpu_threads_resume(h->d);
	}
	if (!h->d->clock.slept_ns)
		log_info("domain %u: its clocks have gone on by the %llu s that it slept", h->d->domid, (unsigned long long)slept / 1000000000);
	else
		sleep_watch(h);
}

static void sleep_watch(struct hv *h)
{
	if (h->d->clock.slept_ns && !sleep_looks)
		sleep_looks = !qb_loop_timer_add(h->loop, QB_LOOP_LOW, SLEEP_LOOK_NS, h, sleep_look, NULL);
}

void hv_sync_execution(struct hv *h)
{
	bool go = h->have_guest && copy_executes(&h->copy) && !h->drained && atomic_load(&h->d->shutdown_reason) == DOMAIN_RUNNING;

	/* a guest that ended while its copy stood still (a move) is noticed when the copy comes back to life */
	if (h->have_guest && h->copy.state == COPY_RUNNING && !h->drained && !h->end_told &&
	    atomic_load(&h->d->shutdown_reason) != DOMAIN_RUNNING)
		hv_post(h, hv_guest_ended, atomic_load(&h->d->shutdown_reason));
	if (go == h->executing)
		return;
	h->executing = go;
	if (go) {
		vcpu_threads_resume(h->d);
		sleep_watch(h);
	} else if (hv_pages_left(h)) {           /* one that waits for a page stands still, and parks when it has it */
		vcpu_threads_pause_soon(h->d);
	} else {
		vcpu_threads_pause(h->d);
	}
}

static int io_start(struct hv *h, void *arg)
{
	devices_activate(h->ds);
	return devices_start(h->ds);
}

int hv_start_serving(struct hv *h)
{
	int rc = h->serving ? 0 : hv_io_call(h, io_start, NULL);

	if (!rc)
		h->serving = true;
	return rc;
}

/* A regular file in memory of its own; a mapping would let whoever truncates it kill us. */
struct file { const char *name; int fd; uint8_t *p; size_t n, have; };

/* file_close() gives it back, also after an error. */
static int file_open(struct file *f, const char *name, int fd, struct err *err)
{
	struct stat st;

	*f = (struct file) { .name = name, .fd = fd };
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "%s: not a regular file", name);
	if (!st.st_size)
		return err_set(err, -ENOEXEC, "%s: the file is empty", name);
	if ((uint64_t)st.st_size > FILE_MAX)
		return err_set(err, -E2BIG, "%s: larger than %lu MiB", name, FILE_MAX >> 20);
	f->p = huge_alloc((size_t)st.st_size);
	if (!f->p)
		return err_set(err, -ENOMEM, "%s: no memory to read it", name);
	f->n = (size_t)st.st_size;
	return 0;
}

static void file_close(struct file *f)
{
	if (f->p)
		munmap(f->p, f->n);
	f->p = NULL;
}

/* Its first `upto` bytes, or all. */
static int file_read(struct file *f, size_t upto, struct err *err)
{
	if (upto > f->n)
		upto = f->n;
	while (f->have < upto) {
		ssize_t r = pread(f->fd, f->p + f->have, upto - f->have, (off_t)f->have);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return err_set(err, r < 0 ? -errno : -EIO, "%s: cannot be read to its end", f->name);
		f->have += (size_t)r;
	}
	return 0;
}

static void clocks_start(struct domain *d)
{
	struct timespec now;

	d->system_offset_ns = -(int64_t)abi_now_ns();
	clock_gettime(CLOCK_REALTIME, &now);
	d->wallclock_offset_ns = now.tv_sec * 1000000000L + now.tv_nsec;
}

static const char *str_or(const json_t *req, const char *key, const char *dflt)
{
	const char *s = json_string_value(json_object_get(req, key));

	return s ? s : dflt;
}

/*
 * What the guest sees of the processor: this host's, less what the cluster's baseline does not name, less what its xl.cfg
 * takes away.  The names were checked by who sent them.
 */
static void policy_set(const json_t *req)
{
	const json_t *baseline = json_object_get(req, "cpu_baseline"), *edits = json_object_get(req, "cpuid"), *e;
	static const char *const regs[4] = { "eax", "ebx", "ecx", "edx" };
	struct cpuid_policy host, p;
	size_t i;

	cpuid_policy_host(&host);
	p = host;
	if (json_is_array(baseline)) {
		const char *names[256];
		size_t n = cpuid_policy_features(&host, names, 256);

		for (size_t k = 0; k < n && k < 256; k++)
			cpuid_policy_set_feature(&p, names[k], false);
		json_array_foreach(baseline, i, e)
			for (size_t k = 0; k < n && k < 256; k++)
				if (json_is_string(e) && !strcmp(names[k], json_string_value(e)))
					cpuid_policy_set_feature(&p, names[k], true);
		cpuid_policy_settle(&p);
	}
	json_array_foreach(edits, i, e)
		for (unsigned r = 0; r < 4; r++)
			if (!strcmp(str_or(e, "reg", ""), regs[r]))
				cpuid_policy_edit(&p, (uint32_t)json_integer_value(json_object_get(e, "leaf")),
						  (uint32_t)json_integer_value(json_object_get(e, "subleaf")), r,
						  (uint32_t)json_integer_value(json_object_get(e, "clear")),
						  (uint32_t)json_integer_value(json_object_get(e, "set")));
	cpuid_policy_use(&p);
}

int hv_build(struct hv *h, const json_t *req, int kernel_fd, int ramdisk_fd, struct err *err)
{
	struct pv_params p = {
		.kernel_name = str_or(req, "kernel", "kernel"), .ramdisk_name = str_or(req, "ramdisk", "ramdisk"),
		.cmdline = str_or(req, "cmdline", ""),
		.nr_pages = (uint64_t)json_integer_value(json_object_get(req, "memory_pages")),
	};
	struct file kernel = { .fd = -1 }, ramdisk = { .fd = -1 };
	int rc;

	if (h->have_guest)
		return err_set(err, -EBUSY, "domain %u: holds a guest already", h->d->domid);
	rc = file_open(&kernel, p.kernel_name, kernel_fd, err);
	if (!rc && ramdisk_fd >= 0)
		rc = file_open(&ramdisk, p.ramdisk_name, ramdisk_fd, err);
	if (!rc)
		rc = file_read(&kernel, PAGE_SIZE_HV, err);
	p.kernel = kernel.p;
	p.kernel_len = kernel.n;
	p.ramdisk = ramdisk.p;
	p.ramdisk_len = ramdisk.n;
	if (!rc) {
		p.ready = pv_ram_begin(h->d, &p);
		rc = file_read(&kernel, kernel.n, err);
		if (!rc)
			rc = file_read(&ramdisk, ramdisk.n, err);
	}
	if (!rc) {
		clocks_start(h->d);
		policy_set(req);
		rc = pv_build(h->d, &p, err);
	} else {
		ram_ready_end(p.ready);
	}
	file_close(&kernel);
	file_close(&ramdisk);
	h->have_guest = !rc;
	return rc;
}

bool hv_pages_in_the_way(struct hv *h, struct msg_call *c, const char *what)
{
	if (!hv_pages_left(h))
		return false;
	msg_error(c, -EBUSY, "%s: domain %u has not got all of its memory yet: %llu MiB are still on %s; ask again when they have come", what,
		  h->d->domid, (unsigned long long)(hv_pages_left(h) + 255) >> 8, hv_pages_from(h));
	return true;
}

/* --- standing still ------------------------------------------------------------------------------------------------ */

static struct { hv_quiet_fn *done; void *arg; } quiet;

static void quiet_done(struct hv *h, int rc)
{
	hv_quiet_fn *done = quiet.done;

	quiet.done = NULL;
	if (done)
		done(h, rc, quiet.arg);
}

static void io_drained(void *arg, int rc)
{
	hv_post(arg, quiet_done, rc);
}

static int io_drain(struct hv *h, void *arg)
{
	devices_drain(h->ds, io_drained, h);
	return 0;
}

static int io_resume(struct hv *h, void *arg)
{
	devices_resume(h->ds);
	return 0;
}

void hv_quiesce(struct hv *h, hv_quiet_fn *done, void *arg)
{
	quiet.done = done;
	quiet.arg = arg;
	h->drained = true;
	hv_sync_execution(h);
	if (h->serving)
		hv_io_call(h, io_drain, NULL);
	else
		hv_post(h, quiet_done, 0);
}

void hv_unquiesce(struct hv *h)
{
	if (!h->drained)
		return;
	h->drained = false;
	if (h->serving)
		hv_io_call(h, io_resume, NULL);
	hv_sync_execution(h);
}

/* --- the guest's own end ------------------------------------------------------------------------------------------- */

static void guest_ended_quiet(struct hv *h, int rc, void *arg)
{
	hv_event(h, "shutdown", json_pack("{s:i}", "reason", atomic_load(&h->d->shutdown_reason)));
}

/* What the guest wrote is flushed before anyone hears that it has ended. */
void hv_guest_ended(struct hv *h, int reason)
{
	if (h->copy.state != COPY_RUNNING || h->drained || h->end_told) {
		hv_sync_execution(h);
		return;
	}
	h->end_told = true;
	log_info("domain %u: the guest shut down, reason %d", h->d->domid, reason);
	hv_quiesce(h, guest_ended_quiet, NULL);
}

/* --- status -------------------------------------------------------------------------------------------------------- */

static const char *vcpu_state_text(const struct hv *h, const struct vcpu *v)
{
	switch (atomic_load(&v->run_state)) {
	case VCPU_DOWN: return "--p";
	case VCPU_RUNNABLE: return h->executing ? "r--" : "--p";
	default: return "-b-";
	}
}

static uint64_t vcpu_cpu_ns(const struct vcpu *v)
{
	struct timespec ts;
	clockid_t clock;

	if (!v->tid || pthread_getcpuclockid(v->thread, &clock) || clock_gettime(clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000UL + (uint64_t)ts.tv_nsec;
}

static json_t *vcpus_status(struct hv *h, uint64_t *ret_ns, int *ret_online, bool *ret_running)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < h->d->nr_vcpus; i++) {
		struct vcpu *v = h->d->vcpu[i];
		const char *state = vcpu_state_text(h, v);
		uint64_t ns = vcpu_cpu_ns(v);

		*ret_ns += ns;
		*ret_online += atomic_load(&v->run_state) != VCPU_DOWN;
		*ret_running |= state[0] == 'r';
		json_array_append_new(list, json_pack("{s:i, s:s, s:I, s:i}", "id", (int)i, "state", state, "cpu_ns", (json_int_t)ns,
						      "tid", v->tid));
	}
	return list;
}

static int io_stats(struct hv *h, void *arg)
{
	devices_stats(h->ds, arg);
	return 0;
}

/* xl's column: running, blocked, paused, shutdown, crashed, dying. */
static void state_text(struct hv *h, bool running, char text[7])
{
	int reason = atomic_load(&h->d->shutdown_reason);

	memcpy(text, "------", 7);
	if (h->copy.state == COPY_DYING)
		text[5] = 'd';
	else if (reason == SHUTDOWN_crash)
		text[4] = 'c';
	else if (reason != DOMAIN_RUNNING)
		text[3] = 's';
	else if (!h->executing)
		text[2] = 'p';
	else if (running)
		text[0] = 'r';
	else
		text[1] = 'b';
}

json_t *hv_status(struct hv *h)
{
	static struct devices_stat st;         /* the last known, where the I/O thread waits for a page */
	uint64_t ns = 0;
	int online = 0;
	bool running = false;
	char text[7];
	json_t *vcpus = vcpus_status(h, &ns, &online, &running);
	json_t *devs;

	state_text(h, running, text);
	if (h->ds)
		hv_io_try(h, io_stats, &st, STATS_MS);
	devs = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "rd_req", (json_int_t)st.rd_req, "wr_req", (json_int_t)st.wr_req,
			 "rd_sectors", (json_int_t)st.rd_sectors, "wr_sectors", (json_int_t)st.wr_sectors,
			 "rx_bytes", (json_int_t)st.rx_bytes, "tx_bytes", (json_int_t)st.tx_bytes);
	return json_pack("{s:i, s:s, s:I, s:s, s:s, s:b, s:s, s:i, s:I, s:i, s:I, s:o, s:o, s:b, s:I, s:i, s:I, s:i, s:b, s:b, s:b, s:b, s:b, s:I, s:o, s:O, s:O}",
			 "domid", h->d->domid, "copy", copy_state_name(h->copy.state), "attempt", (json_int_t)h->copy.attempt,
			 "target", h->copy.target, "from", h->from, "user_paused", h->copy.user_paused, "state", text,
			 "shutdown_reason", atomic_load(&h->d->shutdown_reason),
			 "memory_kib", (json_int_t)atomic_load(&h->d->tot_pages) * 4, "online_vcpus", online,
			 "cpu_ns", (json_int_t)ns, "vcpu", vcpus, "devices", devs, "serving", h->serving,
			 "store_mfn", (json_int_t)h->d->store_mfn, "store_port", (int)h->d->store_port,
			 "console_mfn", (json_int_t)h->d->console_mfn, "console_port", (int)h->d->console_port,
			 "store_wanted", hv_image_store_is_wanted(), "store_arrived", hv_image_store_is_offered(),
			 "release_wanted", h->release_wanted, "released", h->released, "moving", h->move != NULL,
			 "first_run_ns", (json_int_t)atomic_load(&h->d->first_run_ns),
			 "pages", hv_pages_status(h), "serves", h->serves ? h->serves : json_null(),
			 "disk_sectors", h->disk_sectors);
}

static int io_devices_create(struct hv *h, void *arg)
{
	int rc;

	h->ds = devices_create(h->d, h->io);
	if (!h->ds)
		return -ENOMEM;
	rc = devices_add_store(h->ds);
	return rc ? rc : devices_add_console(h->ds);
}

int hv_devices_create(struct hv *h)
{
	return hv_io_call(h, io_devices_create, NULL);
}
