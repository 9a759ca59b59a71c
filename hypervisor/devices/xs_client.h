/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xs_client.h - an asynchronous client of xenstored over the back-end channel (lib/proto/store.h).
 *
 * Requests queue while there is no channel and are repeated on a new one, so a restarted xenstored is not noticed;
 * all that back ends send is idempotent.  Watches are set again, which fires each once, as any new watch does.
 */
#ifndef HV_XS_CLIENT_H
#define HV_XS_CLIENT_H

#include "hypervisor/devices/io_loop.h"
#include <stddef.h>

struct xs_client;

/* err: 0, or the errno xenstored named.  data is NUL-terminated beyond len and lives until the call returns. */
typedef void xs_reply_fn(void *arg, int err, const char *data, size_t len);
typedef void xs_watch_fn(void *arg);

struct xs_client *xs_client_create(struct io_loop *l);
void xs_client_destroy(struct xs_client *c);
void xs_client_set_channel(struct xs_client *c, int fd);        /* takes fd over */
void xs_client_quiet(struct xs_client *c, bool quiet);          /* neither send nor receive */

/* fn may be NULL.  0, or -ENOMEM, -E2BIG. */
int xs_client_read(struct xs_client *c, const char *path, xs_reply_fn *fn, void *arg);
int xs_client_write(struct xs_client *c, const char *path, const char *value);

/* fn runs on every event of that path, and once at first.  path is copied. */
int xs_client_watch(struct xs_client *c, const char *path, xs_watch_fn *fn, void *arg);

/* Whoever `arg` is goes away: its watches end, answers to its requests are dropped. */
void xs_client_forget(struct xs_client *c, const void *arg);

#endif
