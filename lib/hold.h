/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hold.h - named steps at which a test can stop a process, to break something there.
 *
 * A protocol's steps pass in microseconds; a test that kills a process "between READY and GO" needs it to wait there.
 * hold_open() maps the file path_run()/hold when root has made one (before the process enters its sandbox, which it
 * survives, being only memory); hold_at("NAME") then waits as long as the file names that step, and says that it waits.
 * Without the file both cost nothing.  File, 128 bytes: 0..63 the step to hold at (NUL-padded), 64..127 the step
 * reached (written by the process).
 */
#ifndef LIB_HOLD_H
#define LIB_HOLD_H

void hold_open(void);
void hold_at(const char *step);

#endif
