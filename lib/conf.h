/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conf.h - /etc/haven/haven.conf and cluster.conf: "key = value" lines, '#' comments.  A missing file is an empty one.
 *
 *	migration_port = 8002
 */
#ifndef LIB_CONF_H
#define LIB_CONF_H

#include "lib/err.h"

struct conf;
/* Loads path_conf()/NAME.  0 and *ret, or -errno with file:line in err.  conf_free takes NULL. */
int conf_load(const char *name, struct conf **ret, struct err *err);
void conf_free(struct conf *c);
const char *conf_get(const struct conf *c, const char *key, const char *dflt);
long long conf_get_int(const struct conf *c, const char *key, long long dflt);
int conf_exists(const char *name);                     /* 1 when path_conf()/NAME exists */

#endif
