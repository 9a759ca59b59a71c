/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xl.cfg is hostile input: any text gives a configuration or one line of complaint, never both, never a crash. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "lib/xlcfg.h"

#define SEED(text) { text, sizeof(text) - 1 }

const struct fuzz_seed fuzz_seeds[] = {
	SEED("name = \"pv1\"\ntype = 'pv'\nkernel = \"/root/p/vmlinuz\"\nextra = \"console=hvc0 panic=-1\"\nmemory = 192\n"
	     "maxmem=256;vcpus=1\ndisk = [ 'phy:/dev/loop0,xvda,w', 'file:/x.img,xvdb,r', ]\n"
	     "vif = [ 'mac=00:16:3e:01:02:03,bridge=xenbr0', '' ]\non_crash = \"destroy\"\n"),
	SEED("# c\nname='a\\x41' # tail\nkernel='/k'\nmemory=0x40\ndisk=[\n 'vdev=xvda,access=rw,script=block-iscsi,target="
	     "iqn=iqn.2026-11.t:d,portal=[fd00::1]:3260,lun=1,initiator=iqn.2026-11.t:n1',\n]\nextra+=' quiet'\nio_timeout=30\n"),
	SEED("name=\"v\"\nvnuma = [ [ \"pnode=0\", \"size=64\" ], [ ] ]\npci = [ '01:00.0' ]\nunknown = [ 1, 2 ]\nvnc=0\n"),
	{ NULL, 0 },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xlcfg_report report;
	json_t *config = NULL;
	int rc = xlcfg_parse_text("fuzz.cfg", (const char *)data, size, "fuzz", &config, &report);
	int bad = rc ? config != NULL || !report.error[0] || strchr(report.error, '\n') != NULL : config == NULL;

	json_decref(config);
	xlcfg_report_done(&report);
	return bad;
}
