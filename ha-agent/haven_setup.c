/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * haven setup - what the agent's meta-data cannot carry: defaults of ocf:haven:DomU for the whole cluster, and a resource
 * made from an xl.cfg. Writes through cibadmin and crm_attribute; running it again changes nothing.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ha-agent/haven.h"
#include "lib/crm_run.h"
#include "lib/xlcfg.h"

#define CIB_S 20		/* seconds a change of the CIB may take: at a membership change it waits */
#define FEW_CPUS 3
#define RING_KEY "runtime.config.totem.seqno_unchanged_const"
#define RING_ROTATIONS 4

/* Migration failures leave the guest running, blocked until cleaned up, instead of stopped on both nodes and started. */
static const char op_defaults[] =
	"<op_defaults>"
	"<meta_attributes id='haven-op-migrate_to' score='100'><rule id='haven-op-migrate_to-rule' boolean-op='and' score='100'>"
	"<op_expression id='haven-op-migrate_to-op' name='migrate_to'/>"
	"<rsc_expression id='haven-op-migrate_to-rsc' class='ocf' provider='haven' type='DomU'/></rule>"
	"<nvpair id='haven-op-migrate_to-of' name='on-fail' value='block'/>"
	"<nvpair id='haven-op-migrate_to-t' name='timeout' value='3600s'/></meta_attributes>"
	"<meta_attributes id='haven-op-migrate_from' score='100'><rule id='haven-op-migrate_from-rule' boolean-op='and' score='100'>"
	"<op_expression id='haven-op-migrate_from-op' name='migrate_from'/>"
	"<rsc_expression id='haven-op-migrate_from-rsc' class='ocf' provider='haven' type='DomU'/></rule>"
	"<nvpair id='haven-op-migrate_from-of' name='on-fail' value='block'/>"
	"<nvpair id='haven-op-migrate_from-t' name='timeout' value='120s'/></meta_attributes>"
	"</op_defaults>";
static const char rsc_defaults[] =
	"<rsc_defaults>"
	"<meta_attributes id='haven-rsc' score='100'><rule id='haven-rsc-rule' boolean-op='and' score='100'>"
	"<rsc_expression id='haven-rsc-type' class='ocf' provider='haven' type='DomU'/></rule>"
	"<nvpair id='haven-rsc-am' name='allow-migrate' value='true'/>"
	"<nvpair id='haven-rsc-st' name='resource-stickiness' value='200'/></meta_attributes>"
	/* a fencing device that goes where it balances better, on every move of a guest, holds that move up until it has started there */
	"<meta_attributes id='haven-fencing' score='50'><rule id='haven-fencing-rule' boolean-op='and' score='50'>"
	"<rsc_expression id='haven-fencing-class' class='stonith'/></rule>"
	"<nvpair id='haven-fencing-st' name='resource-stickiness' value='200'/></meta_attributes>"
	"</rsc_defaults>";

static int set_property(const char *name, const char *value, struct err *err)
{
	return crm_run(NULL, err, CIB_S, "crm_attribute", "--type", "crm_config", "--name", name, "--update", value, NULL);
}

static int merge(const char *scope, const char *xml, struct err *err)
{
	return crm_run(NULL, err, CIB_S, "cibadmin", "--modify", "--allow-create", "--scope", scope, "--xml-text", xml, NULL);
}

/* A node without capacities would be given nothing once placement looks at them. */
static int set_node_capacity(const json_t *n, struct err *err)
{
	char memory[24], vcpus[24];
	int rc;

	snprintf(memory, sizeof(memory), "%lld", (long long)json_integer_value(json_object_get(n, "memory_mib")));
	snprintf(vcpus, sizeof(vcpus), "%lld", (long long)json_integer_value(json_object_get(n, "vcpus")));
	rc = crm_run(NULL, err, CIB_S, "crm_attribute", "--node", haven_str(n, "name"), "--utilization", "--name", "memory", "--update", memory,
		     NULL);
	return rc ? rc : crm_run(NULL, err, CIB_S, "crm_attribute", "--node", haven_str(n, "name"), "--utilization", "--name", "vcpus",
				 "--update", vcpus, NULL);
}

static int set_capacities(const json_t *status, struct err *err)
{
	const json_t *n;
	size_t i;
	int rc;

	json_array_foreach(json_object_get(status, "nodes"), i, n)
		if (json_integer_value(json_object_get(n, "memory_mib")) <= 0) {
			printf("note: the memory of %s is not known now, so placement does not look at memory; run haven setup again when every "
			       "node is up\n", haven_str(n, "name"));
			return 0;
		}
	json_array_foreach(json_object_get(status, "nodes"), i, n) {
		rc = set_node_capacity(n, err);
		if (rc)
			return rc;
	}
	return set_property("placement-strategy", "balanced", err);
}

/* Moves that Pacemaker begins, to and from a node, unless the operator has said: which of them go first, and how many, migrated decides. */
static int set_migration_limit(struct err *err)
{
	if (crm_run(NULL, NULL, CIB_S, "crm_attribute", "--type", "crm_config", "--name", "migration-limit", "--query", "--quiet", NULL) == 0)
		return 0;
	return set_property("migration-limit", "16", err);
}

/* stonith-enabled unset is true; Pacemaker then starts nothing at all as long as no fencing device is configured. */
static void warn_of_fencing(void)
{
	char *enabled = NULL, *devices = NULL;
	bool off = crm_run(&enabled, NULL, CIB_S, "crm_attribute", "--type", "crm_config", "--name", "stonith-enabled", "--query", "--quiet",
			   NULL) == 0 && !strncmp(enabled, "false", 5);

	if (off)
		puts("WARNING: stonith-enabled is false: without fencing the domains of a dead node are started only on haven resolve");
	else if (crm_run(&devices, NULL, CIB_S, "cibadmin", "--query", "--xpath", "//primitive[@class='stonith']", NULL))
		puts("WARNING: no fencing device is configured, so Pacemaker starts no resource; add one (pcs stonith create ...)");
	free(enabled);
	free(devices);
}

/*
 * Corosync's token goes round so many times after each message before it rests, in real time: on few processors that is what the pauses of
 * guests wait for that leave a node together (docs/adr/0013-the-pause-tells-nothing.md). corosync.conf is the cluster's own: it is only told.
 */
static void advise_on_ring(void)
{
	char *told = NULL;
	const char *value = NULL;

	if (sysconf(_SC_NPROCESSORS_ONLN) <= FEW_CPUS && crm_run(&told, NULL, CIB_S, "corosync-cmapctl", "-g", RING_KEY, NULL) == 0)
		value = strstr(told, " = ");
	if (value && strtol(value + 3, NULL, 10) > RING_ROTATIONS)
		printf("note: on so few processors Corosync lengthens the pauses of guests that leave a node together; "
		       "pcs cluster config update totem seqno_unchanged_const=%d lets it rest sooner\n", RING_ROTATIONS);
	free(told);
}

static int setup_cluster(void)
{
	json_t *status = haven_status();
	struct err err;
	int rc;

	if (!status)
		return HAVEN_FAILED;
	rc = merge("op_defaults", op_defaults, &err);
	if (!rc)
		rc = merge("rsc_defaults", rsc_defaults, &err);
	if (!rc)
		rc = set_property("no-quorum-policy", "freeze", &err);
	if (!rc)
		rc = set_migration_limit(&err);
	if (!rc)
		rc = set_capacities(status, &err);
	json_decref(status);
	if (rc)
		return haven_fail("%s", err.text);
	warn_of_fencing();
	advise_on_ring();
	puts("defaults of ocf:haven:DomU written: migrations on-fail=block, allow-migrate, stickiness; no-quorum-policy=freeze");
	return HAVEN_OK;
}

/* --- a resource ------------------------------------------------------------------------------------------------------- */

static bool plain_id(const char *s)
{
	return *s && (strspn(s, "0123456789.-") == 0) && strlen(s) < 100 &&
	       strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == strlen(s);
}

/* Into buf with XML's five escaped; false: too long. */
static bool xml_escape(char *buf, size_t size, const char *s)
{
	size_t n = 0;

	for (; *s; s++) {
		char one[2] = { *s, '\0' };
		const char *e = *s == '&' ? "&amp;" : *s == '<' ? "&lt;" : *s == '>' ? "&gt;" : *s == '"' ? "&quot;" : *s == '\'' ? "&apos;" : one;

		if (n + strlen(e) >= size)
			return false;
		memcpy(buf + n, e, strlen(e) + 1);
		n += strlen(e);
	}
	return true;
}

static char *resource_xml(const char *id, const char *path, const json_t *config)
{
	const char *name = haven_str(config, "name");
	long long memory = (json_integer_value(json_object_get(config, "memory_kib")) + 1023) / 1024;
	long long vcpus = json_integer_value(json_object_get(config, "vcpus"));
	char file[PATH_MAX], dom[512], *xml = NULL;

	if (!xml_escape(file, sizeof(file), path) || !xml_escape(dom, sizeof(dom), name))
		return NULL;
	if (asprintf(&xml, "<primitive id='%s' class='ocf' provider='haven' type='DomU'>"
		     "<instance_attributes id='%s-ia'><nvpair id='%s-ia-config' name='config' value='%s'/>"
		     "<nvpair id='%s-ia-name' name='name' value='%s'/></instance_attributes>"
		     "<meta_attributes id='%s-ma'><nvpair id='%s-ma-am' name='allow-migrate' value='true'/></meta_attributes>"
		     "<utilization id='%s-u'><nvpair id='%s-u-m' name='memory' value='%lld'/><nvpair id='%s-u-v' name='vcpus' value='%lld'/></utilization>"
		     "<operations>"
		     "<op id='%s-start' name='start' interval='0' timeout='120s'/><op id='%s-stop' name='stop' interval='0' timeout='120s'/>"
		     "<op id='%s-monitor' name='monitor' interval='10s' timeout='30s'/>"
		     "<op id='%s-migrate_to' name='migrate_to' interval='0' timeout='3600s' on-fail='block'/>"
		     "<op id='%s-migrate_from' name='migrate_from' interval='0' timeout='120s' on-fail='block'/>"
		     "</operations></primitive>", id, id, id, file, id, dom, id, id, id, id, memory, id, vcpus, id, id, id, id, id) < 0)
		return NULL;
	return xml;
}

static int setup_resource(const char *id, const char *path)
{
	char full[PATH_MAX], xpath[256], *xml;
	struct xlcfg_report report;
	json_t *config = NULL;
	struct err err;
	int rc;

	if (!realpath(path, full))
		return haven_fail("%s: no such file; give the path of the xl.cfg", path);
	rc = xlcfg_parse_file(full, &config, &report);
	for (size_t i = 0; i < report.n_warnings; i++)
		fprintf(stderr, "%s\n", report.warnings[i]);
	if (rc) {
		haven_fail("%s", report.error);
		xlcfg_report_done(&report);
		return HAVEN_FAILED;
	}
	xlcfg_report_done(&report);
	if (!id)
		id = haven_str(config, "name");
	if (!plain_id(id)) {
		haven_fail("%s: not a name for a resource; use letters, digits, - and _ and give one: haven setup NAME CFG", id);
		json_decref(config);
		return HAVEN_FAILED;
	}
	snprintf(xpath, sizeof(xpath), "//primitive[@id='%s']", id);
	xml = resource_xml(id, full, config);
	if (crm_run(NULL, NULL, CIB_S, "cibadmin", "--query", "--xpath", xpath, NULL) == 0)
		rc = err_set(&err, -EEXIST, "%s: the cluster has a resource of this name already; remove it or choose another name", id);
	else
		rc = xml ? crm_run(NULL, &err, CIB_S, "cibadmin", "--create", "--scope", "resources", "--xml-text", xml, NULL)
			 : err_set(&err, -EINVAL, "%s: path or name is too long", full);
	if (rc)
		haven_fail("%s", err.text);
	else
		printf("resource %s (ocf:haven:DomU, %s, %lld MiB, %lld vcpus) is in the cluster; keep the same file on every node\n", id, full,
		       (long long)json_integer_value(json_object_get(config, "memory_kib")) / 1024,
		       (long long)json_integer_value(json_object_get(config, "vcpus")));
	free(xml);
	json_decref(config);
	return rc ? HAVEN_FAILED : HAVEN_OK;
}

static int run_setup(int argc, char **argv)
{
	if (argc == 1)
		return setup_cluster();
	if (argc == 3)
		return setup_resource(!strcmp(argv[1], "add") ? NULL : argv[1], argv[2]);
	return haven_usage(&haven_cmd_setup);
}

const struct haven_command haven_cmd_setup = {
	"setup", "[add CFG | NAME CFG]", "cluster defaults; a resource from an xl.cfg",
	"Without arguments: writes what every ocf:haven:DomU resource needs and its meta-data cannot carry: a failed migration blocks instead of\n"
	"restarting the guest, migration is allowed, guests stay where they are, placement looks at memory and vcpus, and a part of the\n"
	"cluster without quorum freezes. Run it once, and again when nodes were added.\n"
	"add CFG: makes a resource named as the domain; NAME CFG: one named NAME. Pacemaker starts it at once.", run_setup
};
