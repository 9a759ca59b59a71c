# SPDX-License-Identifier: GPL-2.0-or-later
EXTRA_DIST += docs/engine-speed.md docs/performance-migration.md docs/lessons.md

# Example configuration: haven.conf holds only comments, so it can be installed as it is.
dist_havenconf_DATA = conf/haven.conf conf/cluster.conf.example
havenconfdir = $(sysconfdir)/haven
dist_xenconf_DATA = conf/example.cfg
xenconfdir = $(sysconfdir)/xen

dist_man_MANS += docs/man/xl.8
