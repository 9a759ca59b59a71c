/* SPDX-License-Identifier: GPL-2.0-or-later */
/* worker_double.c - see worker_double.h. */
#include "config.h"
#include "tests/fuzz/worker_double.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/msg.h"
#include "migrated/migrate_worker.h"

bool worker_replied;

int worker_ask(int sock, json_t *request, const int *fds, int nfds, struct err *err)
{
	json_decref(request);
	return 0;
}

int worker_answer(struct worker *w, int sock, const char *op, json_t **ret_reply, int *ret_fds, int *ret_nfds, int timeout_ms,
		  struct err *err)
{
	return daemon_says(op, ret_reply, ret_fds, ret_nfds);
}

int worker_call(struct worker *w, int sock, json_t *request, const int *fds, int nfds, json_t **ret_reply, int *ret_fds, int *ret_nfds,
		int timeout_ms, struct err *err)
{
	char op[32];

	snprintf(op, sizeof(op), "%s", json_string_value(json_object_get(request, "op")));
	json_decref(request);
	return daemon_says(op, ret_reply, ret_fds, ret_nfds);
}

int worker_drop_root(struct worker *w, struct err *err) { return 0; }
int worker_close_doors(struct worker *w, struct err *err) { return 0; }
int worker_hurry(struct worker *w, json_int_t domid, enum worker_hurry word, struct err *err) { return 0; }
int worker_hurry_guest(struct worker *w, json_int_t domid, struct err *err) { return 0; }
bool worker_channel_ended(const struct worker *w) { return false; }

/* The reply, like all that goes to migrated, has to fit a packet. */
void worker_send_control(struct worker *w, json_t *obj)
{
	size_t n = json_dumpb(obj, NULL, 0, JSON_COMPACT);

	if (n > MSG_MAX_BYTES) {
		fprintf(stderr, "%zu octets for migrated\n", n);
		abort();
	}
	worker_replied = worker_replied || json_object_get(obj, "ok");
	json_decref(obj);
}
