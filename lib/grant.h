/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Grants: one file says "this start may happen once" (docs/specs/messages.md, hypervisord, Grants).
 *
 * ha-agentd makes RUN/grant/UUID.NUMBER before it lets a copy come into being and removes it to take its word back;
 * hypervisord unlinks it before it starts the copy. unlink(2) succeeds for one of the two alone, so a request that
 * outlived the process that sent it starts nothing, and ha-agentd knows whether it was in time.
 */
#ifndef HAVEN_LIB_GRANT_H
#define HAVEN_LIB_GRANT_H

#include <stdint.h>

/* Makes the grant (and the folder). 0 or -errno; -EINVAL when uuid holds anything but hexadecimal digits and dashes. */
int grant_make(const char *uuid, uint64_t number);

/* hypervisord: consumes the grant. 0: consumed, go ahead. -EPERM: there is none. Other -errno: refuse as well. */
int grant_take(const char *uuid, uint64_t number);

/* ha-agentd: takes it back. 0: nobody used it and nobody will. -ENOENT: used, or never made. Other -errno: unknown. */
int grant_revoke(const char *uuid, uint64_t number);

/* ha-agentd at its start: takes every grant of a former process back. 0 or -errno. */
int grant_revoke_all(void);

#endif
