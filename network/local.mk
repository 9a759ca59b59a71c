# SPDX-License-Identifier: GPL-2.0-or-later
havenlibexec_PROGRAMS += haven-network
haven_network_SOURCES = network/network_main.c network/tap.c network/tap.h
haven_network_CFLAGS = $(AM_CFLAGS) $(NL_CFLAGS) $(JANSSON_CFLAGS)
haven_network_LDADD = $(HAVEN_LIBS) $(NL_LIBS)

dist_man_MANS += docs/man/haven-network.8
