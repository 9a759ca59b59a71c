/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * domain.c - a domain's memory and structures, before a guest is in them.
 *
 * The memfd is sealed against growing and shrinking before anyone else gets it: a peer that truncated it would turn our
 * accesses into SIGBUS.
 */
#include "hypervisor/domain_new.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "hypervisor/abi/abi.h"
#include "lib/huge.h"

#define CODE_CACHE_BYTES (64UL << 20)
#define M2P_INVALID UINT64_MAX

static uint64_t special_pages(uint64_t max_pages)
{
	return SPECIAL_M2P + (max_pages * 8 + PAGE_SIZE_HV - 1) / PAGE_SIZE_HV;
}

uint64_t domain_memfd_bytes(uint64_t max_pages)
{
	return (max_pages + special_pages(max_pages)) << PAGE_SHIFT_HV;
}

static int memfd_make(uint16_t domid, uint64_t bytes)
{
	char name[32];
	int fd, rc;

	snprintf(name, sizeof name, "haven-domain-%u", domid);
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

static int memfd_check(int fd, uint64_t bytes)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & (F_SEAL_GROW | F_SEAL_SHRINK)) != (F_SEAL_GROW | F_SEAL_SHRINK))
		return -EINVAL;
	return fstat(fd, &st) < 0 || (uint64_t)st.st_size != bytes ? -EINVAL : 0;
}

static int memory_new(struct domain *d, int ram_fd, struct err *err)
{
	uint64_t bytes = domain_memfd_bytes(d->max_pages);
	uint64_t frames = domain_nr_frames(d);

	d->ram_fd = ram_fd >= 0 ? ram_fd : memfd_make(d->domid, bytes);
	if (d->ram_fd < 0)
		return err_set(err, d->ram_fd, "domain %u: no memory for its RAM", d->domid);
	if (memfd_check(d->ram_fd, bytes) < 0)
		return err_set(err, -EINVAL, "domain %u: the RAM handed in is not a sealed memfd of %llu bytes", d->domid,
			       (unsigned long long)bytes);
	d->ram = huge_map(bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, d->ram_fd);
	if (!d->ram)
		return err_set(err, -errno, "domain %u: cannot map %llu MiB of RAM", d->domid, (unsigned long long)bytes >> 20);
	d->populated = calloc((d->max_pages + 63) / 64, sizeof *d->populated);
	d->dirty = calloc((frames + 63) / 64, sizeof *d->dirty);
	d->pt_type = calloc(d->max_pages, 1);
	if (!d->populated || !d->dirty || !d->pt_type)
		return err_set(err, -ENOMEM, "domain %u: no memory for its bitmaps", d->domid);
	return 0;
}

static struct vcpu *vcpu_alloc(const struct engine_ops *engine)
{
	size_t size = (sizeof(struct vcpu) + 63) & ~63UL;
	struct vcpu *v;

	if (engine && engine->vcpu_alloc)
		return engine->vcpu_alloc();
	v = aligned_alloc(64, size);
	return v ? memset(v, 0, size) : NULL;
}

static void vcpu_free(const struct engine_ops *engine, struct vcpu *v)
{
	if (v && engine && engine->vcpu_free)
		engine->vcpu_free(v);
	else
		free(v);
}

static int vcpus_new(struct domain *d, struct err *err)
{
	for (unsigned i = 0; i < d->nr_vcpus; i++) {
		struct vcpu *v = vcpu_alloc(d->engine);

		if (!v)
			return err_set(err, -ENOMEM, "domain %u: no memory for vCPU %u", d->domid, i);
		v->d = d;
		v->id = i;
		d->vcpu[i] = v;
	}
	return 0;
}

int domain_new(const struct domain_params *p, struct domain **ret, struct err *err)
{
	struct domain *d = NULL;
	int rc;

	if (p->max_pages < DOMAIN_MIN_PAGES || p->max_pages > DOMAIN_MAX_PAGES)
		rc = err_set(err, -EINVAL, "memory of %llu MiB: a domain takes from %lu MiB to %lu GiB",
			     (unsigned long long)p->max_pages >> 8, DOMAIN_MIN_PAGES >> 8, DOMAIN_MAX_PAGES >> 18);
	else if (!p->vcpus || p->vcpus > HV_MAX_VCPUS)
		rc = err_set(err, -EINVAL, "vcpus=%u: a domain has 1 to %d", p->vcpus, HV_MAX_VCPUS);
	else if (!(d = calloc(1, sizeof *d)))
		rc = err_set(err, -ENOMEM, "domain %u: no memory", p->domid);
	else
		rc = 0;
	if (rc) {
		if (p->ram_fd >= 0)
			close(p->ram_fd);
		return rc;
	}
	d->domid = p->domid;
	memcpy(d->uuid, p->uuid, sizeof d->uuid);
	snprintf(d->name, sizeof d->name, "%s", p->name ? p->name : "");
	d->ram_fd = -1;
	d->max_pages = p->max_pages;
	d->nr_special = special_pages(p->max_pages);
	d->nr_vcpus = p->vcpus;
	d->engine = p->engine;
	atomic_store(&d->shutdown_reason, DOMAIN_RUNNING);
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->collapse_lock, NULL);
	rc = memory_new(d, p->ram_fd, err);
	if (!rc)
		rc = vcpus_new(d, err);
	if (rc) {
		domain_free(d);
		return rc;
	}
	*ret = d;
	return 0;
}

int domain_attach(struct domain *d, size_t code_cache_bytes, struct err *err)
{
	const struct engine_ops *engine = d->engine;
	int rc = abi_domain_init(d);

	if (rc)
		return err_set(err, rc, "domain %u: cannot set up its event channels and grants", d->domid);
	rc = engine->domain_init(d, code_cache_bytes ? code_cache_bytes : CODE_CACHE_BYTES);
	if (rc)
		return err_set(err, rc, "domain %u: engine %s does not start", d->domid, engine->name);
	d->serve = pv_serve_fast;
	for (unsigned i = 0; i < d->nr_vcpus; i++) {
		abi_vcpu_init(d->vcpu[i]);
		rc = engine->vcpu_init(d->vcpu[i]);
		if (rc)
			return err_set(err, rc, "domain %u: engine %s cannot make vCPU %u", d->domid, engine->name, i);
	}
	return 0;
}

void domain_free(struct domain *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < d->nr_vcpus; i++) {
		if (d->vcpu[i] && d->vcpu[i]->engine_private)
			d->engine->vcpu_destroy(d->vcpu[i]);
		vcpu_free(d->engine, d->vcpu[i]);
	}
	if (d->engine)
		d->engine->domain_destroy(d);
	if (d->evtchn || d->grant)
		abi_domain_destroy(d);
	if (d->ram)
		munmap(d->ram, domain_memfd_bytes(d->max_pages));
	if (d->ram_fd >= 0)
		close(d->ram_fd);
	free(d->populated);
	free((void *)(uintptr_t)d->dirty);
	free(d->pt_type);
	pthread_mutex_destroy(&d->lock);
	pthread_mutex_destroy(&d->collapse_lock);
	free(d);
}

void domain_populate(struct domain *d, uint64_t n)
{
	memset(d->populated, 0, (d->max_pages + 63) / 64 * sizeof *d->populated);
	for (uint64_t i = 0; i < n / 64; i++)
		d->populated[i] = UINT64_MAX;
	if (n % 64)
		d->populated[n / 64] = (1UL << (n % 64)) - 1;
	atomic_store(&d->tot_pages, n);
}

void domain_fill_m2p(struct domain *d)
{
	uint64_t *m2p = domain_frame(d, SPECIAL_MFN + SPECIAL_M2P);
	uint64_t slots = (d->nr_special - SPECIAL_M2P) * (PAGE_SIZE_HV / 8);

	for (uint64_t i = 0; i < slots; i++)
		m2p[i] = i < d->max_pages && d->populated[i / 64] >> (i % 64) & 1 ? i : M2P_INVALID;
}
