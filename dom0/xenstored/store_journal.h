/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal: what lets xenstored die at any instruction and come back as it was. A file in a tmpfs (RUN/xenstored/journal),
 * so it outlives the process and not the machine. Format: docs/specs/xenstored-journal.md.
 */
#ifndef HAVEN_XENSTORED_JOURNAL_H
#define HAVEN_XENSTORED_JOURNAL_H

#include <sys/types.h>

#include "dom0/xenstored/store_core.h"
#include "lib/err.h"

#define JOURNAL_FILE_MAX (256u * 1024 * 1024)
#define JOURNAL_COMPACT_MIN (1024u * 1024)

struct journal {
	int fd, dir;			/* dir: the folder, so that it is found after the process' rights are gone */
	char path[256];
	size_t size, compact_size;	/* octets now, and right after the last compaction */
};

/*
 * Brings *s (initialised) to the state the file holds, then begins a compacted file. A torn last frame is what a kill in the
 * middle of a write leaves: that request was never answered, so it is dropped. 0 or -errno with err.
 */
int journal_open(struct journal *j, const char *path, struct store *s, struct err *err);
/* Writes store.journal out as one frame and empties it; compacts when the file has grown. 0 or -errno. */
int journal_commit(struct journal *j, struct store *s);
/* The whole state into a file of its own, which then is the journal. */
int journal_compact(struct journal *j, struct store *s);
/* Folder and file become uid's: whoever drops to it goes on writing them. 0 or -errno. */
int journal_give(const struct journal *j, uid_t uid);
void journal_close(struct journal *j);

#endif
