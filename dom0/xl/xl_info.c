/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xl_info.c - xl info and xl dmesg: about this node. */
#include "dom0/xl/xl.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static void row(const char *key, const char *value)
{
	printf("%-23s: %s\n", key, value);
}

static void row_int(const char *key, long long value)
{
	printf("%-23s: %lld\n", key, value);
}

static void print_cpu_mhz(void)
{
	char line[256];
	FILE *f = fopen("/proc/cpuinfo", "re");
	double mhz = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "cpu MHz : %lf", &mhz) == 1)
			break;
	if (f)
		fclose(f);
	printf("%-23s: %.3f\n", "cpu_mhz", mhz);
}

int cmd_info(int argc, char **argv)
{
	struct utsname u;
	json_t *info = NULL;
	struct err err;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (argc != 1)
		return xl_usage("info");
	if (xl_hypervisord(json_pack("{s:s}", "op", "node-info"), &info, &err) < 0)
		return xl_error(&err);
	uname(&u);
	row("host", u.nodename);
	row("release", u.release);
	row("version", u.version);
	row("machine", u.machine);
	row_int("nr_cpus", cpus);
	row_int("max_cpu_id", cpus - 1);
	row_int("nr_nodes", 1);
	print_cpu_mhz();
	row("virt_caps", "pv");
	row_int("total_memory", xl_int(info, "memory_total_kib") / 1024);
	row_int("free_memory", xl_int(info, "memory_usable_kib") / 1024);
	row_int("free_cpus", 0);
	row_int("xen_major", 4);
	row_int("xen_minor", 17);
	row("xen_extra", ".haven");
	row("xen_version", "4.17.haven");
	row("xen_caps", "xen-3.0-x86_64");
	row("xen_scheduler", "linux");
	row_int("xen_pagesize", 4096);
	row("platform_params", "virt_start=0xffff800000000000");
	row("haven_version", xl_str(info, "version"));
	json_decref(info);
	return XL_OK;
}

int cmd_dmesg(int argc, char **argv)
{
	json_t *reply = NULL;
	struct err err;

	if (argc != 1)
		return xl_usage("dmesg");
	if (xl_hypervisord(json_pack("{s:s}", "op", "dmesg"), &reply, &err) < 0)
		return xl_error(&err);
	fputs(xl_str(reply, "dmesg"), stdout);
	json_decref(reply);
	return XL_OK;
}
