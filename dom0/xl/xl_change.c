/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xl_change.c - the commands that change a domain that runs: memory, vCPUs, devices, name, share of the CPUs; and what is asked of
 * it: sysrq, an NMI, a core.
 *
 * On a domain that Pacemaker manages they go through, since Pacemaker would not undo them, with a word on how long they last; a
 * rename does not: the resource would start a second domain under the old name.
 */
#include "dom0/xl/xl.h"
#include "dom0/xl/xl_format.h"
#include "dom0/xl/xl_parse.h"

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cpulist.h"
#include "lib/msg.h"
#include "lib/vdev.h"
#include "lib/xlcfg.h"

#define DUMP_MS (20 * 60 * 1000)

enum { OPT_FORCE = 256 };
static const struct option long_options[] = {
	{ "force", 0, NULL, OPT_FORCE }, { "ignore-host", 0, NULL, 'i' }, { "domain", 1, NULL, 'd' }, { "weight", 1, NULL, 'w' },
	{ "cap", 1, NULL, 'c' }, { "cpupool", 1, NULL, 'p' }, { "schedparam", 0, NULL, 's' }, { "ratelimit_us", 1, NULL, 'r' },
	{ NULL, 0, NULL, 0 },
};

/* Sends {"op": op, "domid": of d, ...fields}; steals fields. */
static int change(const json_t *d, const char *op, json_t *fields)
{
	struct err err;

	json_object_set_new(fields, "op", json_string(op));
	json_object_set_new(fields, "domid", json_integer(xl_int(d, "domid")));
	return xl_hypervisord(fields, NULL, &err) < 0 ? xl_error(&err) : XL_OK;
}

/* The same of what becomes part of the domain's configuration. */
static int change_kept(const json_t *d, const char *op, json_t *fields)
{
	int rc = change(d, op, fields);

	if (rc == XL_OK)
		xl_note_managed(xl_str(d, "name"));
	return rc;
}

/* The domain that word 1 of a command with `words` words besides its name is about; NULL: printed, *ret_rc is the exit code. */
static json_t *domain_of(int argc, char **argv, int words, int *ret_rc)
{
	struct err err;
	json_t *d = NULL;

	if (argc != words + 1)
		*ret_rc = xl_usage(argv[0]);
	else if (strcmp(argv[1], "0") == 0 || strcmp(argv[1], "Domain-0") == 0)
		*ret_rc = xl_fail("%s: Domain-0 is this node itself", argv[0]);
	else if (xl_find(argv[1], &d, &err) < 0)
		*ret_rc = xl_error(&err);
	return d;
}

/* --- memory ----------------------------------------------------------------------------------------------------------------- */

static int memory_command(int argc, char **argv)
{
	long long kib;
	int rc = XL_OK;
	json_t *d = domain_of(argc, argv, 2, &rc);

	if (!d)
		return rc;
	if (xl_parse_memory(argv[2], &kib))
		rc = change_kept(d, argv[0], json_pack("{s:I}", "kib", (json_int_t)kib));
	else
		rc = xl_fail("invalid memory size: %s; a number of MiB, or one with k, m, g or t", argv[2]);
	json_decref(d);
	return rc;
}

int cmd_mem_set(int argc, char **argv) { return memory_command(argc, argv); }
int cmd_mem_max(int argc, char **argv) { return memory_command(argc, argv); }

/* --- vCPUs ------------------------------------------------------------------------------------------------------------------ */

int cmd_vcpu_set(int argc, char **argv)
{
	long long n, cpus = sysconf(_SC_NPROCESSORS_ONLN);
	bool ignore_host = false;
	int c, rc = XL_OK;
	json_t *d;

	while ((c = getopt_long(argc, argv, "i", long_options, NULL)) != -1) {
		if (c != 'i')
			return xl_usage("vcpu-set");
		ignore_host = true;
	}
	argv[optind - 1] = argv[0];
	d = domain_of(argc - optind + 1, argv + optind - 1, 2, &rc);
	if (!d)
		return rc;
	if (!xl_parse_number(argv[optind + 1], 1, INT_MAX, &n))
		rc = xl_fail("%s: not a number of vCPUs; at least 1", argv[optind + 1]);
	else if (n > cpus && !ignore_host && n <= xl_int(d, "vcpus"))
		rc = xl_fail("this node has %lld physical CPUs and %lld vCPUs were asked for; --ignore-host goes on regardless", cpus, n);
	else
		rc = change_kept(d, "vcpu-set", json_pack("{s:I}", "vcpus", (json_int_t)n));
	json_decref(d);
	return rc;
}

int cmd_vcpu_pin(int argc, char **argv)
{
	long long vcpu = -1;
	int c, rc = XL_OK;
	json_t *d;

	while ((c = getopt_long(argc, argv, "f", long_options, NULL)) != -1)
		if (c != 'f' && c != OPT_FORCE)
			return xl_usage("vcpu-pin");
	argv[optind - 1] = argv[0];
	argc -= optind - 1;
	argv += optind - 1;
	if (argc == 5 && strcmp(argv[4], "all") && strcmp(argv[4], "-"))
		return xl_fail("%s: Linux knows no soft affinity; leave it out, or write all", argv[4]);
	d = domain_of(argc == 5 ? 4 : argc, argv, 3, &rc);
	if (!d)
		return rc;
	if (strcmp(argv[2], "all") && !xl_parse_number(argv[2], 0, INT_MAX, &vcpu))
		rc = xl_fail("%s: not a vCPU; a number, or all", argv[2]);
	else if (strcmp(argv[3], "-"))
		rc = change_kept(d, "vcpu-pin", json_pack("{s:I, s:s}", "vcpu", (json_int_t)vcpu, "cpus", argv[3]));
	json_decref(d);
	return rc;
}

/* --- share of the CPUs -------------------------------------------------------------------------------------------------------- */

static void print_share(const json_t *d)
{
	const json_t *config = json_object_get(d, "config"), *weight = json_object_get(config, "weight");

	xl_format_credit2(stdout, xl_str(d, "name"), xl_int(d, "domid"), weight ? json_integer_value(weight) : 256, xl_int(config, "cap"));
}

static int list_shares(const char *who)
{
	json_t *domains = NULL, *d;
	struct err err;
	size_t i;

	if (who && xl_find(who, &d, &err) < 0)
		return xl_error(&err);
	if (who)
		domains = json_pack("[o]", d);
	else if (xl_list_all(&domains, &err) < 0)
		return xl_error(&err);
	if (!who)
		printf("Cpupool Pool-0: ratelimit=1000us\n");
	xl_format_credit2_header(stdout);
	if (!who)
		xl_format_credit2(stdout, "Domain-0", 0, 256, 0);
	json_array_foreach(domains, i, d)
		print_share(d);
	json_decref(domains);
	return XL_OK;
}

int cmd_sched_credit2(int argc, char **argv)
{
	const char *who = NULL, *weight = NULL, *cap = NULL;
	char *words[2] = { argv[0], NULL };
	json_t *fields, *d;
	long long v;
	int c, rc = XL_OK;

	while ((c = getopt_long(argc, argv, "d:w:c:p:sr:", long_options, NULL)) != -1) {
		switch (c) {
		case 'd': who = optarg; break;
		case 'w': weight = optarg; break;
		case 'c': cap = optarg; break;
		case 'p': case 's': case 'r':
			return xl_fail("sched-credit2: Linux schedules here: there are no CPU pools, and no rate limit");
		default: return xl_usage("sched-credit2");
		}
	}
	if (optind != argc || ((weight || cap) && !who))
		return xl_usage("sched-credit2");
	if (!weight && !cap)
		return list_shares(who);
	if (weight && !xl_parse_number(weight, 1, 65535, &v))
		return xl_fail("%s: not a weight; a number from 1 to 65535", weight);
	if (cap && !xl_parse_number(cap, 0, 100 * 128, &v))
		return xl_fail("%s: not a cap; hundredths of a CPU, 0 for none", cap);
	words[1] = (char *)(uintptr_t)who;
	d = domain_of(2, words, 1, &rc);
	if (!d)
		return rc;
	fields = json_object();
	if (weight)
		json_object_set_new(fields, "weight", json_integer(atoll(weight)));
	if (cap)
		json_object_set_new(fields, "cap", json_integer(atoll(cap)));
	rc = change_kept(d, "sched-set", fields);
	json_decref(d);
	return rc;
}

/* --- devices ------------------------------------------------------------------------------------------------------------------ */

static int report_end(struct xlcfg_report *report, int rc)
{
	for (size_t i = 0; i < report->n_warnings; i++)
		fprintf(stderr, "xl: warning: %s\n", report->warnings[i]);
	if (rc < 0)
		rc = xl_fail("%s", report->error[0] ? report->error : "out of memory");
	xlcfg_report_done(report);
	return rc;
}

int cmd_block_attach(int argc, char **argv)
{
	struct xlcfg_report report;
	json_t *disk = NULL, *d;
	int rc = XL_OK;
	char *spec;

	if (argc < 3)
		return xl_usage("block-attach");
	spec = xl_parse_join(argc - 2, argv + 2);
	rc = spec ? report_end(&report, xlcfg_parse_disk(spec, &disk, &report)) : xl_fail("out of memory");
	free(spec);
	if (rc != XL_OK)
		return rc;
	d = domain_of(2, argv, 1, &rc);
	if (d)
		rc = change_kept(d, "disk-attach", json_pack("{s:O}", "disk", disk));
	json_decref(disk);
	json_decref(d);
	return rc;
}

/* [--force] in front of the two words of a detach; NULL: *ret_rc. */
static json_t *detach_words(int argc, char **argv, bool *ret_force, const char **ret_device, int *ret_rc)
{
	int c;

	*ret_force = false;
	while ((c = getopt_long(argc, argv, "f", long_options, NULL)) != -1) {
		if (c != OPT_FORCE && c != 'f') {
			*ret_rc = xl_usage(argv[0]);
			return NULL;
		}
		*ret_force = true;
	}
	argv[optind - 1] = argv[0];
	if (optind + 1 < argc)
		*ret_device = argv[optind + 1];
	return domain_of(argc - optind + 1, argv + optind - 1, 2, ret_rc);
}

int cmd_block_detach(int argc, char **argv)
{
	const char *device = NULL;
	char name[16];
	bool force;
	int rc = XL_OK;
	long long devid;
	json_t *d = detach_words(argc, argv, &force, &device, &rc);

	if (!d)
		return rc;
	if (xl_parse_number(device, 0, UINT32_MAX, &devid) && vdev_from_devid((uint32_t)devid, name, sizeof(name)) == 0)
		device = name;
	rc = change_kept(d, "disk-detach", json_pack("{s:s, s:b}", "vdev", device, "force", force));
	json_decref(d);
	return rc;
}

/* The number hypervisord will give it: the lowest that is free. */
static unsigned next_vif(const json_t *d)
{
	const json_t *list = json_object_get(json_object_get(d, "config"), "vif");
	unsigned n = 0;
	json_t *v;
	size_t i = 0;

	while (i < json_array_size(list)) {
		json_array_foreach(list, i, v) {
			const json_t *devid = json_object_get(v, "devid");

			if ((devid ? json_integer_value(devid) : (json_int_t)i) == n)
				break;
		}
		if (i < json_array_size(list)) {
			n++;
			i = 0;
		}
	}
	return n;
}

int cmd_network_attach(int argc, char **argv)
{
	struct xlcfg_report report;
	json_t *vif = NULL, *d;
	int rc = XL_OK;
	char *spec;

	if (argc < 2)
		return xl_usage("network-attach");
	d = domain_of(2, argv, 1, &rc);
	spec = d ? xl_parse_join(argc - 2, argv + 2) : NULL;
	if (spec)
		rc = report_end(&report, xlcfg_parse_vif(spec, xl_str(d, "uuid"), next_vif(d), &vif, &report));
	free(spec);
	if (vif)
		rc = change_kept(d, "vif-attach", json_pack("{s:O}", "vif", vif));
	json_decref(vif);
	json_decref(d);
	return rc;
}

/* By number, or by mac. */
static long long vif_devid(const json_t *d, const char *device)
{
	json_t *v;
	size_t i;
	long long devid;

	if (xl_parse_number(device, 0, INT_MAX, &devid))
		return devid;
	json_array_foreach(json_object_get(json_object_get(d, "config"), "vif"), i, v)
		if (strcasecmp(xl_str(v, "mac"), device) == 0)
			return json_object_get(v, "devid") ? xl_int(v, "devid") : (long long)i;
	return -1;
}

int cmd_network_detach(int argc, char **argv)
{
	const char *device = NULL;
	long long devid;
	bool force;
	int rc = XL_OK;
	json_t *d = detach_words(argc, argv, &force, &device, &rc);

	if (!d)
		return rc;
	devid = vif_devid(d, device);
	if (devid < 0)
		rc = xl_fail("%s has no interface %s; xl network-list %s shows number and mac of each", xl_str(d, "name"), device, xl_str(d, "name"));
	else
		rc = change_kept(d, "vif-detach", json_pack("{s:I, s:b}", "devid", (json_int_t)devid, "force", force));
	json_decref(d);
	return rc;
}

/* --- what is asked of it -------------------------------------------------------------------------------------------------------- */

int cmd_sysrq(int argc, char **argv)
{
	int rc = XL_OK;
	json_t *d = domain_of(argc, argv, 2, &rc);

	if (!d)
		return rc;
	if (strlen(argv[2]) != 1)
		rc = xl_fail("%s: not a sysrq; one letter, h lists them on the guest's console", argv[2]);
	else
		rc = change(d, "sysrq", json_pack("{s:s}", "key", argv[2]));
	json_decref(d);
	return rc;
}

int cmd_trigger(int argc, char **argv)
{
	static const char *const of_hvm[] = { "reset", "init", "power", "sleep", "s3resume" };
	long long vcpu = 0;
	int rc = XL_OK;
	json_t *d;

	d = domain_of(argc == 4 ? 3 : argc, argv, 2, &rc);
	if (!d)
		return rc;
	for (size_t i = 0; i < sizeof(of_hvm) / sizeof(of_hvm[0]) && rc == XL_OK; i++)
		if (strcmp(argv[2], of_hvm[i]) == 0)
			rc = xl_fail("trigger %s: it belongs to HVM guests; a PV guest takes nmi, xl reboot and xl shutdown", argv[2]);
	if (rc == XL_OK && strcmp(argv[2], "nmi"))
		rc = xl_fail("%s: no such trigger; a PV guest takes nmi", argv[2]);
	else if (rc == XL_OK && argc == 4 && !xl_parse_number(argv[3], 0, INT_MAX, &vcpu))
		rc = xl_fail("%s: not a vCPU; a number from 0", argv[3]);
	else if (rc == XL_OK)
		rc = change(d, "trigger", json_pack("{s:s, s:I}", "trigger", argv[2], "vcpu", (json_int_t)vcpu));
	json_decref(d);
	return rc;
}

int cmd_rename(int argc, char **argv)
{
	int rc = XL_OK;
	json_t *d = domain_of(argc, argv, 2, &rc);

	if (!d)
		return rc;
	if (xl_refuse_managed(xl_str(d, "name"), false, "rename", "haven setup NEWNAME NEW.cfg, in place of resource %s"))
		rc = XL_FAILED;
	else
		rc = change(d, "rename", json_pack("{s:s}", "new_name", argv[2]));
	json_decref(d);
	return rc;
}

/* The file appears under its name when it is whole. */
static int dump_into(const json_t *d, const char *file)
{
	char tmp[PATH_MAX];
	struct err err;
	int fd, sock, rc;
	json_t *request;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.incomplete", file) >= sizeof(tmp))
		return xl_fail("%s: name too long", file);
	fd = open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return xl_fail("%s: cannot write it: %s", tmp, strerror(errno));
	request = json_pack("{s:s, s:I}", "op", "dump-core", "domid", (json_int_t)xl_int(d, "domid"));
	rc = sock = msg_connect("hypervisord.sock", &err);
	if (sock >= 0) {
		rc = msg_call(sock, request, &fd, 1, NULL, NULL, NULL, DUMP_MS, NULL, NULL, &err);
		close(sock);
	}
	json_decref(request);
	close(fd);
	rc = rc < 0 ? xl_error(&err) : XL_OK;
	if (rc == XL_OK && rename(tmp, file) < 0)
		rc = xl_fail("%s: the core is there, but it cannot be renamed to %s: %s", tmp, file, strerror(errno));
	else if (rc != XL_OK)
		unlink(tmp);
	return rc;
}

int cmd_dump_core(int argc, char **argv)
{
	int rc = XL_OK;
	json_t *d = domain_of(argc, argv, 2, &rc);

	if (d)
		rc = dump_into(d, argv[2]);
	json_decref(d);
	return rc;
}
