/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xl_list.c - the listing commands, in the columns of Xen's xl. */
#include "dom0/xl/xl.h"
#include "dom0/xl/xl_format.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The domains named, or all; *ret is an array. Errors are printed: XL_OK or XL_FAILED. */
static int wanted_domains(int argc, char **argv, json_t **ret)
{
	struct err err;

	if (argc == 0)
		return xl_list_all(ret, &err) < 0 ? xl_error(&err) : XL_OK;
	*ret = json_array();
	for (int i = 0; i < argc; i++) {
		json_t *d;

		if (strcmp(argv[i], "0") == 0 || strcmp(argv[i], "Domain-0") == 0)
			continue;
		if (xl_find(argv[i], &d, &err) < 0) {
			json_decref(*ret);
			*ret = NULL;
			return xl_error(&err);
		}
		json_array_append_new(*ret, d);
	}
	return XL_OK;
}

static bool wants_dom0(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], "0") == 0 || strcmp(argv[i], "Domain-0") == 0)
			return true;
	return argc == 0;
}

/* Domain-0 is the node itself: the CPU time of everything that is not a guest's. */
static double node_cpu_seconds(void)
{
	unsigned long long user = 0, nice_ticks = 0, sys = 0;
	FILE *f = fopen("/proc/stat", "re");

	if (f) {
		if (fscanf(f, "cpu %llu %llu %llu", &user, &nice_ticks, &sys) != 3)
			user = nice_ticks = sys = 0;
		fclose(f);
	}
	return (double)(user + nice_ticks + sys) / (double)sysconf(_SC_CLK_TCK);
}

static long long sum_guests(const char *key)
{
	long long sum = 0;
	json_t *all = NULL, *d;
	size_t i;

	if (xl_list_all(&all, NULL) == 0)
		json_array_foreach(all, i, d)
			sum += xl_int(d, key);
	json_decref(all);
	return sum;
}

static double dom0_seconds(void)
{
	double s = node_cpu_seconds() - (double)sum_guests("cpu_ns") / 1e9;

	return s < 0 ? 0 : s;
}

static long long dom0_mib(void)
{
	json_t *info = NULL;
	long long kib = 0;

	if (xl_hypervisord(json_pack("{s:s}", "op", "node-info"), &info, NULL) == 0)
		kib = xl_int(info, "memory_total_kib") - sum_guests("memory_kib");
	json_decref(info);
	return kib > 0 ? kib / 1024 : 0;
}

static void print_dom0(bool verbose)
{
	const struct xl_row row = {
		.name = "Domain-0", .state = "r-----", .uuid = "00000000-0000-0000-0000-000000000000", .mib = dom0_mib(),
		.vcpus = sysconf(_SC_NPROCESSORS_ONLN), .reason = -1, .seconds = dom0_seconds(),
	};

	xl_format_list(stdout, &row, verbose);
}

static void print_domain(const json_t *d, bool verbose)
{
	const struct xl_row row = {
		.name = xl_str(d, "name"), .state = xl_str(d, "state"), .uuid = xl_str(d, "uuid"), .domid = xl_int(d, "domid"),
		.mib = xl_int(d, "memory_kib") / 1024, .vcpus = xl_int(d, "online_vcpus"),
		.reason = json_object_get(d, "shutdown_reason") ? xl_int(d, "shutdown_reason") : -1,
		.seconds = (double)xl_int(d, "cpu_ns") / 1e9,
	};

	xl_format_list(stdout, &row, verbose);
}

/* libxl's shape, Domain-0 first. */
static void print_json(const json_t *domains, bool with_dom0)
{
	json_t *list = json_array(), *d;
	size_t i;

	if (with_dom0)
		json_array_append_new(list, json_pack("{s:i, s:{s:{s:s, s:s}, s:{s:I}}}", "domid", 0, "config", "c_info", "type", "pv",
						      "name", "Domain-0", "b_info", "target_memkb", (json_int_t)dom0_mib() * 1024));
	json_array_foreach(domains, i, d)
		json_array_append_new(list, xl_format_domain(d));
	json_dumpf(list, stdout, JSON_INDENT(4));
	printf("\n");
	json_decref(list);
}

int cmd_list(int argc, char **argv)
{
	static const struct option longs[] = { { "long", 0, NULL, 'l' }, { "verbose", 0, NULL, 'v' }, { NULL, 0, NULL, 0 } };
	bool as_json = false, verbose = false;
	json_t *domains = NULL, *d;
	size_t i;
	int c;

	while ((c = getopt_long(argc, argv, "lv", longs, NULL)) != -1) {
		if (c == 'l')
			as_json = true;
		else if (c == 'v')
			verbose = true;
		else
			return xl_usage("list");
	}
	if (wanted_domains(argc - optind, argv + optind, &domains) != XL_OK)
		return XL_FAILED;
	if (as_json) {
		print_json(domains, wants_dom0(argc - optind, argv + optind));
	} else {
		xl_format_list_header(stdout, verbose);
		if (wants_dom0(argc - optind, argv + optind))
			print_dom0(verbose);
		json_array_foreach(domains, i, d)
			print_domain(d, verbose);
	}
	json_decref(domains);
	return XL_OK;
}

static const char *hard_affinity(const json_t *d, size_t vcpu)
{
	const char *list = json_string_value(json_array_get(json_object_get(json_object_get(d, "config"), "affinity"), vcpu));

	return list ? list : "all";
}

int cmd_vcpu_list(int argc, char **argv)
{
	json_t *domains = NULL, *d, *v;
	size_t i, j;

	if (wanted_domains(argc - 1, argv + 1, &domains) != XL_OK)
		return XL_FAILED;
	xl_format_vcpu_header(stdout);
	if (wants_dom0(argc - 1, argv + 1)) {
		long n = sysconf(_SC_NPROCESSORS_ONLN);

		for (long cpu = 0; cpu < n; cpu++)
			xl_format_vcpu(stdout, "Domain-0", 0, cpu, cpu, "r--", dom0_seconds() / (double)n, "all");
	}
	json_array_foreach(domains, i, d)
		json_array_foreach(json_object_get(d, "vcpu"), j, v)
			xl_format_vcpu(stdout, xl_str(d, "name"), xl_int(d, "domid"), xl_int(v, "id"), xl_int(v, "cpu"),
				       xl_str(v, "state"), (double)xl_int(v, "cpu_ns") / 1e9, hard_affinity(d, j));
	json_decref(domains);
	return XL_OK;
}

/* A node of a device's front end, "-1" when it is not there: xl prints that for what the guest has not written. */
static char *front(long long domid, const char *class, const char *dev, const char *key)
{
	char *s = xl_store_read("/local/domain/%lld/device/%s/%s/%s", domid, class, dev, key);

	return s ? s : strdup("-1");
}

static void print_disk(long long domid, const char *dev)
{
	char *state = front(domid, "vbd", dev, "state"), *port = front(domid, "vbd", dev, "event-channel");
	char *ring = front(domid, "vbd", dev, "ring-ref"), *back = front(domid, "vbd", dev, "backend");

	xl_format_block(stdout, dev, state, port, ring, back);
	free(state);
	free(port);
	free(ring);
	free(back);
}

static void print_vif(long long domid, const char *dev)
{
	char *state = front(domid, "vif", dev, "state"), *tx = front(domid, "vif", dev, "tx-ring-ref");
	char *rx = front(domid, "vif", dev, "rx-ring-ref"), *back = front(domid, "vif", dev, "backend");
	char *mac = front(domid, "vif", dev, "mac"), *port = xl_store_read("/local/domain/%lld/device/vif/%s/event-channel", domid, dev);

	xl_format_network(stdout, dev, mac, state, port ? port : "-1", tx, rx, back);
	free(state);
	free(tx);
	free(rx);
	free(back);
	free(mac);
	free(port);
}

static int list_devices(int argc, char **argv, const char *class, void (*header)(FILE *), void (*print)(long long, const char *))
{
	json_t *domains = NULL, *d;
	size_t i;

	if (argc < 2)
		return xl_usage(argv[0]);
	if (wanted_domains(argc - 1, argv + 1, &domains) != XL_OK)
		return XL_FAILED;
	header(stdout);
	json_array_foreach(domains, i, d) {
		char **devs = xl_store_directory("/local/domain/%lld/device/%s", xl_int(d, "domid"), class);

		for (size_t j = 0; devs && devs[j]; j++)
			print(xl_int(d, "domid"), devs[j]);
		xl_store_free(devs);
	}
	json_decref(domains);
	return XL_OK;
}

int cmd_block_list(int argc, char **argv)
{
	return list_devices(argc, argv, "vbd", xl_format_block_header, print_disk);
}

int cmd_network_list(int argc, char **argv)
{
	return list_devices(argc, argv, "vif", xl_format_network_header, print_vif);
}

static void print_uptime(const char *name, long long domid, long long seconds, const char *clock)
{
	if (clock)
		xl_format_uptime_short(stdout, clock, name, domid, seconds);
	else
		xl_format_uptime(stdout, name, domid, seconds);
}

int cmd_uptime(int argc, char **argv)
{
	bool as_line = argc > 1 && strcmp(argv[1], "-s") == 0;
	int n = argc - 1 - as_line;
	char **who = argv + 1 + as_line, clock[16];
	time_t now = time(NULL);
	json_t *domains = NULL, *d;
	struct timespec up;
	struct tm tm;
	size_t i;

	if (wanted_domains(n, who, &domains) != XL_OK)
		return XL_FAILED;
	strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&now, &tm));
	clock_gettime(CLOCK_BOOTTIME, &up);
	if (!as_line)
		xl_format_uptime_header(stdout);
	if (wants_dom0(n, who))
		print_uptime("Domain-0", 0, up.tv_sec, as_line ? clock : NULL);
	json_array_foreach(domains, i, d)
		print_uptime(xl_str(d, "name"), xl_int(d, "domid"), (long long)now - xl_int(d, "started"), as_line ? clock : NULL);
	json_decref(domains);
	return XL_OK;
}

int cmd_domid(int argc, char **argv)
{
	struct err err;
	json_t *d;

	if (argc != 2)
		return xl_usage("domid");
	if (xl_find(argv[1], &d, &err) < 0)
		return xl_error(&err);
	printf("%lld\n", xl_int(d, "domid"));
	json_decref(d);
	return XL_OK;
}

int cmd_domname(int argc, char **argv)
{
	struct err err;
	json_t *d;

	if (argc != 2)
		return xl_usage("domname");
	if (argv[1][0] < '0' || argv[1][0] > '9')
		return xl_fail("%s is not a domain number; xl domid turns a name into one", argv[1]);
	if (xl_find(argv[1], &d, &err) < 0)
		return xl_error(&err);
	printf("%s\n", xl_str(d, "name"));
	json_decref(d);
	return XL_OK;
}
