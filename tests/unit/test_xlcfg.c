/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xl.cfg to the canonical configuration: what the reference's guests use, each complaint with its place, each bound. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/xlcfg.h"

#define BASE "name='d'\nkernel='/k'\nmemory=64\n"

static struct xlcfg_report report;
static json_t *config;

static int parse_len(const char *text, size_t len)
{
	json_decref(config);
	config = NULL;
	xlcfg_report_done(&report);
	return xlcfg_parse_text("t.cfg", text, len, "c1", &config, &report);
}

static int parse(const char *text)
{
	return parse_len(text, strlen(text));
}

static int release(void **state)
{
	json_decref(config);
	config = NULL;
	xlcfg_report_done(&report);
	return 0;
}

static void assert_config(const char *text, const char *want)
{
	char *have;

	assert_int_equal(parse(text), 0);
	have = json_dumps(config, JSON_SORT_KEYS | JSON_COMPACT);
	assert_string_equal(have, want);
	free(have);
}

static void assert_refused(const char *text, int rc, const char *error)
{
	int have = parse(text);

	if (have != rc || !strstr(report.error, error))
		print_message("for <%s>\nhave %d <%s>\nwant %d <%s>\n", text, have, report.error, rc, error);
	assert_int_equal(have, rc);
	assert_non_null(strstr(report.error, error));
	assert_null(config);
}

static const char *disk_text(const char *spec)
{
	static char out[512];
	char text[1024], *dump;

	snprintf(text, sizeof(text), BASE "disk=[\"%s\"]\n", spec);
	if (parse(text))
		return report.error;
	dump = json_dumps(json_array_get(json_object_get(config, "disk"), 0), JSON_SORT_KEYS | JSON_COMPACT);
	snprintf(out, sizeof(out), "%s", dump);
	free(dump);
	return out;
}

static void reference_guest(void **state)
{
	assert_config("name = \"pv1\"\ntype = \"pv\"\nkernel = \"/root/p/vmlinuz\"\nramdisk = \"/root/p/domu.gz\"\n"
		      "extra = \"console=hvc0 panic=-1\"\nmemory = 192\nmaxmem = 256\nvcpus = 1\n"
		      "uuid = '0B369CB788DF425C91B0429B9139C355'\n"
		      "disk = [ 'phy:/dev/loop0,xvda,w' ]\nvif = [ 'mac=00:16:3E:01:02:03,bridge=xenbr0' ]\n"
		      "on_poweroff = \"destroy\"\non_reboot = \"restart\"\non_crash = \"destroy\"\n",
		      "{\"cmdline\":\"console=hvc0 panic=-1\",\"disk\":[{\"backend\":\"phy\",\"format\":\"raw\",\"mode\":\"rw\","
		      "\"target\":\"/dev/loop0\",\"vdev\":\"xvda\"}],\"io_timeout_s\":0,\"kernel\":\"/root/p/vmlinuz\","
		      "\"maxmem_kib\":262144,\"memory_kib\":196608,\"name\":\"pv1\",\"on_crash\":\"destroy\","
		      "\"on_poweroff\":\"destroy\",\"on_reboot\":\"restart\",\"ramdisk\":\"/root/p/domu.gz\",\"type\":\"pv\","
		      "\"uuid\":\"0b369cb7-88df-425c-91b0-429b9139c355\",\"vcpus\":1,"
		      "\"vif\":[{\"bridge\":\"xenbr0\",\"mac\":\"00:16:3e:01:02:03\",\"mtu\":1500}]}");
	assert_int_equal(report.n_warnings, 0);
}

static void syntax_forms(void **state)
{
	assert_int_equal(parse("# head\n\n  name = 'a' ; kernel=\"/k\"; memory = 0x40 # tail\ndisk = [ # in\n\t'/i,,xvda' ,\n"
			       " \"phy:/dev/b,xvdb,r\",\n]; vcpus = '2'\r\nroot='/dev/xvda ro'\nextra = 'x' \\\n\nextra += \" y\\x41\\\"\"\n"
			       "vif = [ ]\nvif += [ '', 'mac=02:00:00:00:00:01' ]"), 0);
	assert_int_equal(json_integer_value(json_object_get(config, "memory_kib")), 65536);
	assert_int_equal(json_integer_value(json_object_get(config, "vcpus")), 2);
	assert_int_equal(json_array_size(json_object_get(config, "disk")), 2);
	assert_int_equal(json_array_size(json_object_get(config, "vif")), 2);
	assert_string_equal(json_string_value(json_object_get(config, "cmdline")), "root=/dev/xvda ro x yA\"");
}

static void syntax_errors_have_places(void **state)
{
	assert_refused("name='a'\nmemory = = 3\n", -EINVAL, "t.cfg:2:10: syntax error: there is '=' where");
	assert_refused("name = foo\n", -EINVAL, "t.cfg:1:8: syntax error: there is 'foo'");
	assert_refused("name = 'foo\n", -EINVAL, "t.cfg:1:8: syntax error: this string has no closing '");
	assert_refused("a = [ 'x'\n'y' ]", -EINVAL, "t.cfg:2:1: syntax error: there is a string where ',' or ']'");
	assert_refused("a = [ 'x',\n", -EINVAL, "the file ends");
	assert_refused("name\n", -EINVAL, "t.cfg:1:5: syntax error: the line ends where '='");
	assert_refused("a = 1 b = 2\n", -EINVAL, "t.cfg:1:7: ");
	assert_refused("a = ('x')\n", -EINVAL, "t.cfg:1:5: ");
	assert_refused("= 1\n", -EINVAL, "t.cfg:1:1: ");
	assert_refused("a = 'x\\0y'\n", -EINVAL, "zero byte");
	assert_refused("a = '\xff'\n", -EINVAL, "UTF-8");
	assert_refused("a = 1\na += 2\n", -EINVAL, "t.cfg:2:1: ");
	assert_int_equal(parse_len("a = 'x\0y'\n", 10), -EINVAL);
	assert_int_equal(parse_len("a\0=1\n", 5), -EINVAL);
}

static void hostile_sizes_are_bounded(void **state)
{
	size_t len = XLCFG_FILE_MAX + 1, i;
	char *big = malloc(len);

	assert_non_null(big);
	memset(big, '\n', len);
	assert_int_equal(parse_len(big, len), -E2BIG);
	memset(big, '[', 1000);
	memcpy(big, "a=", 2);
	assert_int_equal(parse_len(big, 1000), -E2BIG);
	for (i = 0; i < 8000; i += 2)
		memcpy(big + i, "1,", 2);
	memcpy(big, "a=[ ", 4);
	assert_int_equal(parse_len(big, 8000), -E2BIG);
	memset(big, 'x', 5000);
	memcpy(big, BASE "extra='", sizeof(BASE "extra='") - 1);
	memcpy(big + 4998, "'\n", 2);
	assert_int_equal(parse_len(big, 5000), -E2BIG);
	free(big);
}

static void unknown_and_unsupported(void **state)
{
	assert_int_equal(parse(BASE "foo_bar = 3\nvnc = 0\npci = []\ncpu_weight=256\n"), 0);
	assert_int_equal(report.n_warnings, 1);
	assert_string_equal(report.warnings[0], "t.cfg:4:1: warning: foo_bar: xl.cfg has no such setting; ignored");
	assert_refused(BASE "pci = [ '01:00.0' ]\n", -ENOTSUP, "t.cfg:4:1: pci is not supported by Haven");
	assert_refused(BASE "vnc = 1\n", -ENOTSUP, "vnc is not supported");
	assert_refused(BASE "bootloader = 'pygrub'\n", -ENOTSUP, "kernel=");
	assert_refused(BASE "type = 'hvm'\n", -ENOTSUP, "VT-x");
	assert_refused(BASE "builder = 'hvm'\n", -ENOTSUP, "VT-x");
	assert_refused(BASE "on_crash = 'soft-reset'\n", -ENOTSUP, "t.cfg:4:12: ");
}

static json_int_t number_of(const char *key)
{
	return json_integer_value(json_object_get(config, key));
}

static void what_changes_at_run_time(void **state)
{
	static const char *const all[] = { "destroy", "restart", "preserve", "rename-restart", "coredump-destroy", "coredump-restart" };
	json_t *item = NULL;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		char text[160];

		snprintf(text, sizeof(text), BASE "on_watchdog = '%s'\non_crash = '%s'\n", all[i], all[i]);
		assert_int_equal(parse(text), 0);
		assert_string_equal(json_string_value(json_object_get(config, "on_watchdog")), all[i]);
		assert_string_equal(json_string_value(json_object_get(config, "on_crash")), all[i]);
	}
	assert_refused(BASE "on_watchdog = 'shout'\n", -EINVAL, "is no action");
	assert_int_equal(parse(BASE "vcpus = 2\nmaxvcpus = 4\ncpus = '0-1,^0'\ncpu_weight = 512\ncap = 50\n"), 0);
	assert_int_equal(number_of("vcpus"), 4);
	assert_int_equal(number_of("online_vcpus"), 2);
	assert_int_equal(number_of("weight"), 512);
	assert_int_equal(number_of("cap"), 50);
	assert_int_equal(json_array_size(json_object_get(config, "affinity")), 4);
	assert_int_equal(parse(BASE "vcpus = 2\nmaxvcpus = 2\ncpus = 'all'\ncap = 0\n"), 0);
	assert_null(json_object_get(config, "online_vcpus"));
	assert_null(json_object_get(config, "affinity"));
	assert_refused(BASE "vcpus = 4\nmaxvcpus = 2\n", -EINVAL, "less than vcpus");
	assert_refused(BASE "cpus = 'nodes:0'\n", -EINVAL, "no list of CPUs");
	assert_refused(BASE "cpu_weight = 0\n", -EINVAL, "between 1 and");

	xlcfg_report_done(&report);
	assert_int_equal(xlcfg_parse_disk("phy:/dev/b,xvdb,r", &item, &report), 0);
	assert_string_equal(json_string_value(json_object_get(item, "mode")), "ro");
	json_decref(item);
	xlcfg_report_done(&report);
	assert_int_equal(xlcfg_parse_disk("phy:/dev/b,hda9x,r", &item, &report), -EINVAL);
	assert_non_null(strstr(report.error, "xvda"));
	xlcfg_report_done(&report);
	assert_int_equal(xlcfg_parse_vif("bridge=xenbr1", "0b369cb7-88df-425c-91b0-429b9139c355", 2, &item, &report), 0);
	assert_string_equal(json_string_value(json_object_get(item, "bridge")), "xenbr1");
	json_decref(item);
	xlcfg_report_done(&report);
	assert_int_equal(xlcfg_parse_vif("mac=01:00:00:00:00:00", "0b369cb7-88df-425c-91b0-429b9139c355", 0, &item, &report), -EINVAL);
}

static void bad_values(void **state)
{
	assert_refused("kernel='/k'\nmemory=64\n", -EINVAL, "no name");
	assert_refused("name='d'\nmemory=64\n", -EINVAL, "no kernel");
	assert_refused("name='d'\nkernel='/k'\n", -EINVAL, "no memory");
	assert_refused(BASE "name='a b'\n", -EINVAL, "t.cfg:4:6: ");
	assert_refused(BASE "name='12'\n", -EINVAL, "domain id");
	assert_refused(BASE "name='../x'\n", -EINVAL, "slashes");
	assert_refused(BASE "name=['x']\n", -EINVAL, "takes a string");
	assert_refused(BASE "disk='x'\n", -EINVAL, "takes a list");
	assert_refused(BASE "memory='lots'\n", -EINVAL, "not a number");
	assert_refused(BASE "memory=12k\n", -EINVAL, "not a number");
	assert_refused(BASE "memory=99999999999999999999\n", -EINVAL, "not a number");
	assert_refused(BASE "vcpus=0\n", -EINVAL, "between 1 and");
	assert_refused(BASE "maxmem=32\n", -EINVAL, "less than memory");
	assert_refused(BASE "uuid='zz'\n", -EINVAL, "not a uuid");
	assert_refused(BASE "type='xen'\n", -EINVAL, "no guest type");
	assert_refused(BASE "kernel='vmlinuz'\n", -EINVAL, "absolute");
	assert_refused(BASE "on_reboot='dance'\n", -EINVAL, "no action");
	assert_refused(BASE "io_timeout=-1\n", -EINVAL, "t.cfg:4:12: ");
	assert_refused(BASE "migration='deadline_s=0'\n", -EINVAL, "t.cfg:4:11: migration: deadline_s");
	assert_refused(BASE "migration='faster'\n", -EINVAL, "NAME=VALUE");
	assert_refused(BASE "disk=[['x']]\n", -EINVAL, "string in quotes");
}

static void derived_identity_is_stable(void **state)
{
	char a[37], b[37], mac[18];

	xlcfg_derive_uuid("c1", "d", a);
	xlcfg_derive_uuid("c", "1d", b);
	assert_string_not_equal(a, b);
	assert_int_equal(a[14], '5');
	assert_non_null(strchr("89ab", a[19]));
	/* The value itself: a change of it would make every such guest another guest. */
	assert_string_equal(a, "a0b8bb1d-3112-5ee3-a688-959ccb2a4baf");
	assert_int_equal(parse(BASE "vif=['','']\n"), 0);
	assert_string_equal(json_string_value(json_object_get(config, "uuid")), a);
	snprintf(mac, sizeof(mac), "%s",
		 json_string_value(json_object_get(json_array_get(json_object_get(config, "vif"), 0), "mac")));
	assert_int_equal(strncmp(mac, "00:16:3e:", 9), 0);
	assert_string_not_equal(mac, json_string_value(json_object_get(json_array_get(json_object_get(config, "vif"), 1), "mac")));
}

static void disks_positional(void **state)
{
	const char *want = "{\"backend\":\"phy\",\"format\":\"raw\",\"mode\":\"rw\",\"target\":\"/dev/vg/guest-volume\",\"vdev\":\"hda\"}";

	assert_string_equal(disk_text("/dev/vg/guest-volume,,hda"), want);
	assert_string_equal(disk_text("/dev/vg/guest-volume,raw,hda,rw"), want);
	assert_string_equal(disk_text("format=raw, vdev=hda, access=rw, target=/dev/vg/guest-volume"), want);
	assert_string_equal(disk_text("raw:/dev/vg/guest-volume,hda,w"), want);
	assert_string_equal(disk_text("phy:vg/guest-volume,hda,w"), want);
	assert_string_equal(disk_text("/dev/vg/guest-volume,,hda,direct-io-safe"), want);
	assert_string_equal(disk_text("tap:aio:/i.img,xvda,r"),
			    "{\"backend\":\"file\",\"format\":\"raw\",\"mode\":\"ro\",\"target\":\"/i.img\",\"vdev\":\"xvda\"}");
	assert_string_equal(disk_text("file:/dev/x,xvda,r"),
			    "{\"backend\":\"file\",\"format\":\"raw\",\"mode\":\"ro\",\"target\":\"/dev/x\",\"vdev\":\"xvda\"}");
	assert_string_equal(disk_text("vdev=xvda,target=/a,b=c, d"),
			    "{\"backend\":\"file\",\"format\":\"raw\",\"mode\":\"rw\",\"target\":\"/a,b=c, d\",\"vdev\":\"xvda\"}");
}

static void disks_iscsi(void **state)
{
	const char *want = "{\"backend\":\"iscsi\",\"format\":\"raw\",\"initiator\":\"iqn.2026-11.n:1\",\"iqn\":\"iqn.2026-11.t:d\","
		"\"lun\":1,\"mode\":\"rw\",\"portal\":\"10.0.0.1:3260\",\"vdev\":\"xvda\"}";

	assert_string_equal(disk_text("vdev=xvda,access=rw,script=block-iscsi,target=iqn=iqn.2026-11.t:d,portal=10.0.0.1:3260,lun=1,"
				      "initiator=iqn.2026-11.n:1"), want);
	assert_string_equal(disk_text("script=/etc/xen/scripts/block-iscsi,vdev=xvda,target=portal=10.0.0.1, lun=1, "
				      "iqn=iqn.2026-11.t:d, initiator=iqn.2026-11.n:1"), want);
	assert_non_null(strstr(disk_text("vdev=xvda,script=block-iscsi,target=iqn=foo,portal=h:1"), "iSCSI name"));
	assert_non_null(strstr(disk_text("vdev=xvda,script=block-iscsi,target=iqn=iqn.2026-11.t:d,portal=h:99999"), "portal"));
	assert_non_null(strstr(disk_text("vdev=xvda,script=block-iscsi,target=iqn=iqn.2026-11.t:d,portal=h,lun=x"), "LUN"));
	assert_non_null(strstr(disk_text("vdev=xvda,script=block-iscsi,target=iqn=iqn.2026-11.t:d,portal=h,user=me"), "user"));
}

static void disks_refused(void **state)
{
	assert_non_null(strstr(disk_text("/dev/x"), "no virtual device"));
	assert_non_null(strstr(disk_text("/dev/x,,foo"), "virtual device 'foo'"));
	assert_non_null(strstr(disk_text("/dev/x,qcow2,xvda"), "qemu-img"));
	assert_non_null(strstr(disk_text("/dev/x,,xvda,rx"), "access"));
	assert_non_null(strstr(disk_text("/dev/x,,xvda,r,more"), "has no place"));
	assert_non_null(strstr(disk_text("/dev/x,,hdc,cdrom"), "cdrom"));
	assert_non_null(strstr(disk_text("/dev/x,,xvda,vdev=xvdb"), "twice"));
	assert_non_null(strstr(disk_text("/dev/x,,xvda,bogus=1"), "unknown"));
	assert_non_null(strstr(disk_text("/dev/x,,xvda,backend=storage"), "not supported"));
	assert_non_null(strstr(disk_text("vdev=xvda"), "no target"));
	assert_non_null(strstr(disk_text("vdev=xvda,script=block-drbd,target=r0"), "block-drbd"));
	assert_refused(BASE "disk=['/a,,xvda','/b,,xvda']\n", -EINVAL, "t.cfg:4:18: disk: two have vdev xvda");
}

static void vifs(void **state)
{
	assert_int_equal(parse(BASE "vif=['mac=02:00:00:00:00:01, bridge=br1, vifname=g0, mtu=9000, script=vif-bridge, type=vif']\n"), 0);
	assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(config, "vif"), 0), "vifname")), "g0");
	assert_refused(BASE "vif=['mac=01:00:00:00:00:01']\n", -EINVAL, "multicast");
	assert_refused(BASE "vif=['mac=02:00:00:00:00']\n", -EINVAL, "form");
	assert_refused(BASE "vif=['bridge=way-too-long-a-name']\n", -EINVAL, "interface name");
	assert_refused(BASE "vif=['bridge=../x']\n", -EINVAL, "interface name");
	assert_refused(BASE "vif=['rate=1Mb/s']\n", -ENOTSUP, "rate");
	assert_refused(BASE "vif=['colour=red']\n", -EINVAL, "unknown");
	assert_refused(BASE "vif=['bridge']\n", -EINVAL, "KEY=VALUE");
	assert_refused(BASE "vif=['mac=02:00:00:00:00:01','mac=02:00:00:00:00:01']\n", -EINVAL, "two have mac");
}

static const char *cpuid_of(const char *value)
{
	static char out[1024];
	char text[1024], *dump;
	json_t *list;

	snprintf(text, sizeof(text), BASE "cpuid = %s\n", value);
	if (parse(text))
		return report.error;
	list = json_object_get(config, "cpuid");
	if (!list)
		return "none";
	dump = json_dumps(list, JSON_SORT_KEYS | JSON_COMPACT);
	snprintf(out, sizeof(out), "%s", dump);
	free(dump);
	return out;
}

static void cpuid_forms(void **state)
{
	assert_string_equal(cpuid_of("'host'"), "none");
	assert_string_equal(cpuid_of("'host,avx2=x,tm=k'"), "none");
	assert_string_equal(cpuid_of("'host,avx2=0,sse3=1'"),
			    "[{\"clear\":0,\"leaf\":1,\"reg\":\"ecx\",\"set\":1,\"subleaf\":0},"
			    "{\"clear\":32,\"leaf\":7,\"reg\":\"ebx\",\"set\":0,\"subleaf\":0}]");
	assert_string_equal(cpuid_of("'host,family=6,model=0x55,stepping=4'"),
			    "[{\"clear\":268044715,\"leaf\":1,\"reg\":\"eax\",\"set\":329300,\"subleaf\":0}]");
	assert_string_equal(cpuid_of("[ '1:ecx=xxx0xxxxxxxxxxxxxxxxxxxxxxxxxxx1,edx=xx0xxxxxxxxxxxxxxxxxxxxxxxxxxxxx' ]"),
			    "[{\"clear\":268435456,\"leaf\":1,\"reg\":\"ecx\",\"set\":1,\"subleaf\":0},"
			    "{\"clear\":536870912,\"leaf\":1,\"reg\":\"edx\",\"set\":0,\"subleaf\":0}]");
	assert_string_equal(cpuid_of("[ '0x7,0:ebx=xxxxxxxxxxxxxxxxxxxxxxxxxx0xxxxx', '0xd,1:eax=kkkkkkkkkkkkkkkkkkkkkkkkkkkkssss' ]"),
			    "[{\"clear\":32,\"leaf\":7,\"reg\":\"ebx\",\"set\":0,\"subleaf\":0}]");
	assert_string_equal(cpuid_of("'host,avx2=0,avx2=1'"),
			    "[{\"clear\":0,\"leaf\":7,\"reg\":\"ebx\",\"set\":32,\"subleaf\":0}]");
}

static void cpuid_errors_have_places(void **state)
{
	assert_refused("cpuid = 'host,avx3=0'\n" BASE, -EINVAL, "t.cfg:1:15: cpuid: 'avx3' is no CPUID flag of xl.cfg(5)");
	assert_refused("\ncpuid = 'host,sse3=0,bogus=1'\n" BASE, -EINVAL, "t.cfg:2:22: cpuid: 'bogus' is no CPUID flag");
	assert_refused("cpuid = 'avx2=0'\n" BASE, -EINVAL, "t.cfg:1:10: cpuid: 'avx2=0' must be 'host'");
	assert_refused("cpuid = 'host,avx2'\n" BASE, -EINVAL, "t.cfg:1:15: cpuid: 'avx2' is not NAME=VALUE");
	assert_refused("cpuid = 'host,avx2=2'\n" BASE, -EINVAL, "t.cfg:1:15: cpuid: 'avx2=2' has no such value");
	assert_refused("cpuid = 'host,family=x'\n" BASE, -EINVAL, "t.cfg:1:15: cpuid: 'family=x' has no such value");
	assert_refused("cpuid = 'host,stepping=16'\n" BASE, -EINVAL, "t.cfg:1:15: ");
	assert_refused("cpuid = 'host,'\n" BASE, -EINVAL, "t.cfg:1:15: ");
	assert_refused("cpuid = [ 'ecx=x' ]\n" BASE, -EINVAL, "t.cfg:1:12: cpuid: 'ecx=x' does not begin with LEAF:");
	assert_refused("cpuid = [ '1:ecx=0x3' ]\n" BASE, -EINVAL, "t.cfg:1:14: cpuid: 'ecx=0x3' is not 32 characters");
	assert_refused("cpuid = [ '1:efx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' ]\n" BASE, -EINVAL, "t.cfg:1:14: ");
	assert_refused("cpuid = [ '1:ecx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx;' ]\n" BASE, -EINVAL, "t.cfg:1:14: ");
	assert_refused("cpuid = [ [ '1:ecx=1' ] ]\n" BASE, -EINVAL, "t.cfg:1:");
}

static void files(void **state)
{
	json_t *parsed = NULL;

	xlcfg_report_done(&report);
	assert_int_equal(xlcfg_parse_file("/nonexistent.cfg", &parsed, &report), -ENOENT);
	assert_string_equal(report.error, "/nonexistent.cfg: cannot read the configuration file: No such file or directory");
	assert_true(xlcfg_parse_file("/", &parsed, &report) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reference_guest),
		cmocka_unit_test(syntax_forms),
		cmocka_unit_test(syntax_errors_have_places),
		cmocka_unit_test(hostile_sizes_are_bounded),
		cmocka_unit_test(unknown_and_unsupported),
		cmocka_unit_test(what_changes_at_run_time),
		cmocka_unit_test(bad_values),
		cmocka_unit_test(derived_identity_is_stable),
		cmocka_unit_test(disks_positional),
		cmocka_unit_test(disks_iscsi),
		cmocka_unit_test(disks_refused),
		cmocka_unit_test(vifs),
		cmocka_unit_test(cpuid_forms),
		cmocka_unit_test(cpuid_errors_have_places),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, release);
}
