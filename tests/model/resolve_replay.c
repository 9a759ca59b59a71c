/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resolve_replay.c - the words of two_hosts.pml (X_TRACE), each put to ha-agent/resolve_plan.c.
 *
 *	P source target taken word = first second      states and steps as resolve_plan.h numbers them; no steps: refused
 */
#include <stdio.h>
#include <string.h>

#include "ha-agent/resolve_plan.h"

int main(void)
{
	unsigned source, target, taken, word, first, second, lines = 0, bad = 0;
	char line[128];

	while (fgets(line, sizeof(line), stdin)) {
		struct resolve_facts f;
		struct resolve_verdict v;

		if (sscanf(line, " P %u %u %u %u = %u %u", &source, &target, &taken, &word, &first, &second) != 6 || source >= RESOLVE_COPIES ||
		    target >= RESOLVE_COPIES || word < RESOLVE_SOURCE || word > RESOLVE_TARGET) {
			fprintf(stderr, "not a line of the model: %s", line);
			return 2;
		}
		lines++;
		f = (struct resolve_facts){ .source = source, .target = target, .taken = taken };
		v = resolve_plan(&f, word, false);
		if (v.step[0] != first || v.step[1] != second) {
			printf("%.*s: steps %d %d%s%s\n", (int)strcspn(line, "\n"), line, v.step[0], v.step[1], v.why ? ", " : "", v.why ? v.why : "");
			bad++;
		}
	}
	printf("%u words, %u differ\n", lines, bad);
	return bad || !lines;
}
