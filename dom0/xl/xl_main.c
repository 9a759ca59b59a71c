/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xl_main.c - xl: the operator's tool on a node, with the commands and columns of Xen's.
 *
 * Holds nothing, hears nothing; asks hypervisord, ha-agentd and xenstored.  It exits 0 when what it printed as done is done.
 */
#include "dom0/xl/xl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/move_policy.h"

const struct xl_command xl_commands[] = {
	{ "create", cmd_create, "[-cpnF] CONFIG [KEY=VALUE...]", "Create a domain from an xl.cfg",
	  "-c  connect to the console\n-p  leave the domain paused\n-n  only show what the file means\n"
	  "--force  also when Pacemaker manages a domain of that name\n" },
	{ "list", cmd_list, "[-lv] [DOMAIN...]", "List domains", "-l  everything, as JSON\n-v  with UUID and reason of shutdown\n" },
	{ "console", cmd_console, "DOMAIN", "Connect to a domain's console; leave with Ctrl-]", NULL },
	{ "shutdown", cmd_shutdown, "[-wF] -a|DOMAIN", "Ask a domain to shut down",
	  "-a  every domain\n-w  wait until it is gone\n-F  (accepted for compatibility)\n--force  also a domain that Pacemaker manages\n" },
	{ "reboot", cmd_reboot, "[-F] -a|DOMAIN", "Ask a domain to reboot", "--force  also a domain that Pacemaker manages\n" },
	{ "destroy", cmd_destroy, "[-f] DOMAIN", "End a domain at once", "-f, --force  also a domain that Pacemaker manages\n" },
	{ "pause", cmd_pause, "DOMAIN", "Stop a domain's vCPUs", NULL },
	{ "unpause", cmd_unpause, "DOMAIN", "Let a paused domain run", NULL },
	{ "domid", cmd_domid, "NAME", "Domain number of a name", NULL },
	{ "domname", cmd_domname, "DOMID", "Name of a domain number", NULL },
	{ "info", cmd_info, "", "About this node", NULL },
	{ "vcpu-list", cmd_vcpu_list, "[DOMAIN...]", "List virtual CPUs", NULL },
	{ "block-list", cmd_block_list, "DOMAIN...", "List a domain's disks", NULL },
	{ "network-list", cmd_network_list, "DOMAIN...", "List a domain's network interfaces", NULL },
	{ "uptime", cmd_uptime, "[-s] [DOMAIN...]", "How long domains have run", "-s  one line a domain, with the time of day\n" },
	{ "mem-set", cmd_mem_set, "DOMAIN MEM", "Set how much memory a domain uses now", "MEM is in MiB, or has a unit: k, m, g, t\n" },
	{ "mem-max", cmd_mem_max, "DOMAIN MEM", "Set how much memory a domain may use", "MEM is in MiB, or has a unit: k, m, g, t\n" },
	{ "vcpu-set", cmd_vcpu_set, "[-i] DOMAIN N", "Set how many vCPUs are online",
	  "-i, --ignore-host  also more than the node has CPUs\n" },
	{ "vcpu-pin", cmd_vcpu_pin, "DOMAIN VCPU|all CPUS", "Set which CPUs a vCPU may use", "CPUS is a list such as 0-3,^2, or all\n" },
	{ "sched-credit2", cmd_sched_credit2, "[-d DOMAIN [-w WEIGHT] [-c CAP]]", "Get or set a domain's share of the CPUs",
	  "-d  the domain\n-w  its weight, 1 to 65535; 256 is the middle\n-c  its cap in hundredths of a CPU, 0 for none\n" },
	{ "block-attach", cmd_block_attach, "DOMAIN DISKSPEC...", "Give a domain another disk",
	  "DISKSPEC is as in xl.cfg, its parts in one word or several: phy:/dev/vg/lv xvdb w\n" },
	{ "block-detach", cmd_block_detach, "[--force] DOMAIN VDEV", "Take a disk away from a domain",
	  "--force  also when the guest does not let go of it\n" },
	{ "network-attach", cmd_network_attach, "DOMAIN [KEY=VALUE...]", "Give a domain another network interface",
	  "KEYs are those of a vif in xl.cfg: mac, bridge, vifname, mtu\n" },
	{ "network-detach", cmd_network_detach, "[--force] DOMAIN DEVID|MAC", "Take a network interface away from a domain",
	  "--force  also when the guest does not let go of it\n" },
	{ "sysrq", cmd_sysrq, "DOMAIN LETTER", "Send a sysrq to a domain", NULL },
	{ "trigger", cmd_trigger, "DOMAIN nmi [VCPU]", "Send an NMI to a vCPU", NULL },
	{ "rename", cmd_rename, "DOMAIN NAME", "Give a domain another name", NULL },
	{ "dump-core", cmd_dump_core, "DOMAIN FILE", "Write a domain's memory and vCPUs to a file", NULL },
	{ "migrate", cmd_migrate, "[--live] [HOW] DOMAIN NODE", "Move a domain to another node, live",
	  "--live  (always; accepted for compatibility)\n" MOVE_POLICY_HELP },
	{ "save", cmd_save, "[-cp] DOMAIN FILE", "Save a domain to a file and end it",
	  "-c  leave it running\n-p  leave it paused\n--force  without a word to Pacemaker\n" },
	{ "restore", cmd_restore, "[-cp] FILE", "Continue a saved domain",
	  "-c  connect to the console\n-p  leave it paused\n--force  also when the disks have moved on since the save\n" },
	{ "dmesg", cmd_dmesg, "", "hypervisord's messages", NULL },
	{ "help", cmd_help, "[COMMAND]", "This list, or a command's options", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static const struct xl_command *find_command(const char *name)
{
	for (const struct xl_command *c = xl_commands; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

static void print_command(FILE *f, const struct xl_command *c)
{
	fprintf(f, "Usage: xl %s %s\n\n%s.\n", c->name, c->args, c->summary);
	if (c->options)
		fprintf(f, "\nOptions:\n%s", c->options);
}

int xl_usage(const char *name)
{
	print_command(stderr, find_command(name));
	return XL_USAGE;
}

static int print_all(FILE *f)
{
	fprintf(f, "Usage: xl COMMAND [ARGS]\n\n");
	for (const struct xl_command *c = xl_commands; c->name; c++)
		fprintf(f, " %-14s %s\n", c->name, c->summary);
	fprintf(f, "\nxl help COMMAND tells a command's options. What a cluster adds: haven --help.\n");
	return XL_OK;
}

int cmd_help(int argc, char **argv)
{
	const struct xl_command *c = argc > 1 ? find_command(argv[1]) : NULL;

	if (argc <= 1)
		return print_all(stdout);
	if (!c)
		return xl_fail("%s: no such command; xl help lists them", argv[1]);
	print_command(stdout, c);
	return XL_OK;
}

int xl_fail(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "xl: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	return XL_FAILED;
}

int xl_error(const struct err *err)
{
	return xl_fail("%s", err->text);
}

int main(int argc, char **argv)
{
	const struct xl_command *c;

	if (argc < 2) {
		print_all(stderr);
		return XL_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return print_all(stdout);
	if (strcmp(argv[1], "--version") == 0) {
		printf("xl (Haven) 0.1.0\n");
		return XL_OK;
	}
	c = find_command(argv[1]);
	if (!c)
		return xl_fail("%s: no such command; xl help lists them", argv[1]);
	if (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
		print_command(stdout, c);
		return XL_OK;
	}
	if (geteuid() != 0 && c->run != cmd_help)
		return xl_fail("%s needs root: it talks to the node's daemons", c->name);
	return c->run(argc - 1, argv + 1);
}
