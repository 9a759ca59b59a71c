/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * iscsi_conf.h - from a domain's configuration to the session and the reservation keys of one of its disks: what hv-disk and the check
 * before a move have in common.
 */
#ifndef STORAGE_ISCSI_CONF_H
#define STORAGE_ISCSI_CONF_H

#include <jansson.h>
#include "storage/iscsi_session.h"

#define ISCSI_KEY_MASK 0xffffffffffffff00ull         /* the same node and domain, any attempt */
#define ISCSI_KEY_DOMAIN_MASK 0xff00000fffffff00ull  /* the same domain, any node and attempt */

/*
 * ret_key: of that node, domain and attempt.  q: `node`, `uuid`, `attempt` of a request; d: the disk, as in messages.md.  The portal's name is resolved here: nobody else may open files
 * later.  0 or -EINVAL with err, which names the disk.
 */
int iscsi_conf_parse(const json_t *q, const json_t *d, struct iscsi_conf *ret, uint64_t *ret_key, struct err *err);
/* Another initiator port of this node's, beside whatever session it has to that disk: for who only looks. */
uint32_t iscsi_conf_other_isid(uint32_t isid, uint32_t salt);

#endif
