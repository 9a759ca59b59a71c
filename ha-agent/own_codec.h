/* SPDX-License-Identifier: GPL-2.0-or-later */
/* own_codec.h - ownership messages and records as JSON (docs/specs/ownership.md, "On the wire", "On disk"). */
#ifndef HA_AGENT_OWN_CODEC_H
#define HA_AGENT_OWN_CODEC_H

#include <jansson.h>
#include "ha-agent/ownership.h"

/* NULL: no memory. */
json_t *own_msg_encode(const struct own_msg *m);
/*
 * 0, and *m borrows strings from j and owns its report's arrays (own_msg_release); -EBADMSG: not one of ours.
 * m->from is not in the message: the caller sets it from the transport.
 */
int own_msg_decode(const json_t *j, struct own_msg *m);
void own_msg_release(struct own_msg *m);

json_t *own_record_encode(const struct own_record *r);
int own_record_decode(const json_t *j, struct own_record *r);	/* 0 or -EBADMSG */

#endif
