/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See xl_format.h. The widths are those of reference output (Xen 4.17), which the unit test repeats. */
#include "dom0/xl/xl_format.h"

#include <stdint.h>
#include <string.h>

void xl_format_list_header(FILE *out, bool verbose)
{
	fprintf(out, "Name                                        ID   Mem VCPUs\tState\tTime(s)%s\n",
		verbose ? "   UUID                            Reason-Code\tSecurity Label" : "");
}

void xl_format_list(FILE *out, const struct xl_row *row, bool verbose)
{
	fprintf(out, "%-40s %5lld %5lld %5lld     %s  %8.1f", row->name, row->domid, row->mib, row->vcpus, row->state, row->seconds);
	if (verbose && row->reason >= 0)
		fprintf(out, " %s %8llx %16s", row->uuid, (unsigned long long)row->reason, "-");
	else if (verbose)
		fprintf(out, " %s %8s %16s", row->uuid, "-", "-");
	fprintf(out, "\n");
}

void xl_format_vcpu_header(FILE *out)
{
	fprintf(out, "Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)\n");
}

void xl_format_vcpu(FILE *out, const char *name, long long domid, long long vcpu, long long cpu, const char *state, double seconds,
		    const char *hard)
{
	fprintf(out, "%-32s %5lld %5lld", name, domid, vcpu);
	if (cpu < 0)
		fprintf(out, "%5s", "-");
	else
		fprintf(out, "%5lld", cpu);
	fprintf(out, "   %s %9.1f  %s / all\n", state, seconds, hard);
}

void xl_format_credit2_header(FILE *out)
{
	fprintf(out, "%-33s %4s %6s %4s\n", "Name", "ID", "Weight", "Cap");
}

void xl_format_credit2(FILE *out, const char *name, long long domid, long long weight, long long cap)
{
	fprintf(out, "%-33s %4lld %6lld %4lld\n", name, domid, weight, cap);
}

void xl_format_uptime_header(FILE *out)
{
	fprintf(out, "Name                                ID Uptime\n");
}

static void days_print(FILE *out, long long days)
{
	if (days)
		fprintf(out, "%lld day%s, ", days, days == 1 ? "" : "s");
}

void xl_format_uptime_short(FILE *out, const char *clock, const char *name, long long domid, long long seconds)
{
	fprintf(out, " %s up ", clock);
	days_print(out, seconds / 86400);
	fprintf(out, "%2lld:%02lld, %s (%lld)\n", seconds / 3600 % 24, seconds / 60 % 60, name, domid);
}

void xl_format_uptime(FILE *out, const char *name, long long domid, long long seconds)
{
	fprintf(out, "%-32s %5lld ", name, domid);
	days_print(out, seconds / 86400);
	fprintf(out, "%2lld:%02lld:%02lld\n", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
}

void xl_format_block_header(FILE *out)
{
	fprintf(out, "%-5s %-3s %-6s %-5s %-6s %-8s %-30s\n", "Vdev", "BE", "handle", "state", "evt-ch", "ring-ref", "BE-path");
}

void xl_format_block(FILE *out, const char *vdev, const char *state, const char *evtchn, const char *ring, const char *backend)
{
	fprintf(out, "%-5s %-3d %-6d %-5s %-6s %-8s %-30s\n", vdev, 0, 1, state, evtchn, ring, backend);
}

void xl_format_network_header(FILE *out)
{
	fprintf(out, "%-3s %-2s %-17s %-6s %-5s %-6s %5s/%-11s %-30s\n", "Idx", "BE", "Mac Addr.", "handle", "state", "evt-ch", "tx-",
		"rx-ring-ref", "BE-path");
}

void xl_format_network(FILE *out, const char *devid, const char *mac, const char *state, const char *evtchn, const char *tx_ring,
		       const char *rx_ring, const char *backend)
{
	fprintf(out, "%-3s %-2d %-17s%6s %5s %6s %5s/%-11s %-30s\n", devid, 0, mac, devid, state, evtchn, tx_ring, rx_ring, backend);
}

/* ---- JSON ---- */

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void text_set(json_t *to, const char *to_key, const json_t *from, const char *from_key)
{
	if (*text(from, from_key))
		json_object_set_new(to, to_key, json_string(text(from, from_key)));
}

static json_t *build_info(const json_t *config)
{
	json_int_t vcpus = json_integer_value(json_object_get(config, "vcpus")), i;
	const json_t *few = json_object_get(config, "online_vcpus"), *weight = json_object_get(config, "weight");
	json_int_t online = few ? json_integer_value(few) : vcpus;
	json_t *b = json_pack("{s:I}", "max_vcpus", vcpus), *avail = json_array();

	for (i = 0; i < online && i < 4096; i++)
		json_array_append_new(avail, json_integer(i));
	json_object_set_new(b, "avail_vcpus", avail);
	json_object_set_new(b, "max_memkb", json_integer(json_integer_value(json_object_get(config, "maxmem_kib"))));
	json_object_set_new(b, "target_memkb", json_integer(json_integer_value(json_object_get(config, "memory_kib"))));
	json_object_set_new(b, "sched_params", json_pack("{s:s, s:I, s:I}", "sched", "credit2", "weight",
			    weight ? json_integer_value(weight) : (json_int_t)256, "cap", json_integer_value(json_object_get(config, "cap"))));
	json_object_set_new(b, "claim_mode", json_string("True"));
	text_set(b, "kernel", config, "kernel");
	text_set(b, "cmdline", config, "cmdline");
	text_set(b, "ramdisk", config, "ramdisk");
	json_object_set_new(b, "type.pv", json_object());
	json_object_set_new(b, "arch_arm", json_object());
	json_object_set_new(b, "arch_x86", json_object());
	return b;
}

static json_t *disk_info(const json_t *disk)
{
	json_t *d = json_object();

	if (strcmp(text(disk, "backend"), "iscsi") == 0) {
		json_object_set_new(d, "pdev_path", json_sprintf("iqn=%s,portal=%s,lun=%lld", text(disk, "iqn"), text(disk, "portal"),
				    (long long)json_integer_value(json_object_get(disk, "lun"))));
		json_object_set_new(d, "script", json_string("block-iscsi"));
	} else {
		text_set(d, "pdev_path", disk, "target");
	}
	text_set(d, "vdev", disk, "vdev");
	text_set(d, "format", disk, "format");
	json_object_set_new(d, "readwrite", json_integer(strcmp(text(disk, "mode"), "ro") != 0));
	return d;
}

static json_t *nic_info(const json_t *vif, size_t devid)
{
	const json_t *own = json_object_get(vif, "devid");
	json_t *n = json_pack("{s:I}", "devid", own ? json_integer_value(own) : (json_int_t)devid);

	text_set(n, "mac", vif, "mac");
	text_set(n, "bridge", vif, "bridge");
	text_set(n, "ifname", vif, "vifname");
	json_object_set_new(n, "nictype", json_string("vif"));
	return n;
}

json_t *xl_format_config(const json_t *config)
{
	json_t *c = json_object(), *info = json_object(), *list, *item;
	size_t i;

	text_set(info, "type", config, "type");
	text_set(info, "name", config, "name");
	text_set(info, "uuid", config, "uuid");
	json_object_set_new(c, "c_info", info);
	json_object_set_new(c, "b_info", build_info(config));
	list = json_array();
	json_array_foreach(json_object_get(config, "disk"), i, item)
		json_array_append_new(list, disk_info(item));
	json_object_set_new(c, "disks", list);
	list = json_array();
	json_array_foreach(json_object_get(config, "vif"), i, item)
		json_array_append_new(list, nic_info(item, i));
	json_object_set_new(c, "nics", list);
	text_set(c, "on_poweroff", config, "on_poweroff");
	text_set(c, "on_reboot", config, "on_reboot");
	text_set(c, "on_crash", config, "on_crash");
	text_set(c, "on_watchdog", config, "on_watchdog");
	if (json_integer_value(json_object_get(config, "io_timeout_s")))
		json_object_set(c, "io_timeout", json_object_get(config, "io_timeout_s"));
	return c;
}

json_t *xl_format_domain(const json_t *domain)
{
	json_t *more = json_copy((json_t *)(uintptr_t)domain);

	json_object_del(more, "config");
	json_object_del(more, "domid");
	return json_pack("{s:I, s:o, s:o}", "domid", json_integer_value(json_object_get(domain, "domid")), "config",
			 xl_format_config(json_object_get(domain, "config")), "haven", more);
}
