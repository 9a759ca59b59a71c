# SPDX-License-Identifier: GPL-2.0-or-later
# the ownership protocol: pure, shared with its tests
noinst_LIBRARIES += ha-agent/libown.a
ha_agent_libown_a_SOURCES = ha-agent/ownership.c ha-agent/ownership_records.c ha-agent/ownership_rules.c \
	ha-agent/ownership_requests.c ha-agent/ownership.h ha-agent/ownership_state.h ha-agent/own_codec.c ha-agent/own_codec.h ha-agent/fence_book.c ha-agent/fence_book.h
ha_agent_libown_a_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)

sbin_PROGRAMS += ha-agent/ha-agentd
ha_agent_ha_agentd_SOURCES = ha-agent/ha-agentd.c ha-agent/agentd.h ha-agent/agentd_ops.c ha-agent/agentd_wait.c \
	ha-agent/agentd_move.c ha-agent/agentd_after.c ha-agent/agentd_restore.c ha-agent/agentd_guard.c ha-agent/remote.c ha-agent/remote.h ha-agent/constraint.c ha-agent/constraint.h \
	ha-agent/corosync_link.c ha-agent/corosync_link.h ha-agent/fence_watch.c ha-agent/fence_watch.h ha-agent/directory.c \
	ha-agent/directory.h
ha_agent_ha_agentd_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(CPG_CFLAGS) $(QUORUM_CFLAGS) $(CMAP_CFLAGS) $(STONITH_CFLAGS) \
	$(OPENSSL_CFLAGS)
ha_agent_ha_agentd_LDADD = ha-agent/libown.a $(HAVEN_LIBS) $(CPG_LIBS) $(QUORUM_LIBS) $(CMAP_LIBS) $(STONITH_LIBS) $(OPENSSL_LIBS)

# the OCF agent
ocfhavendir = $(ocfdir)/resource.d/haven
ocfhaven_PROGRAMS = ha-agent/DomU
ha_agent_DomU_SOURCES = ha-agent/DomU.c
ha_agent_DomU_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
ha_agent_DomU_LDADD = $(HAVEN_LIBS)

# the operator's tool
sbin_PROGRAMS += ha-agent/haven
ha_agent_haven_SOURCES = ha-agent/haven.c ha-agent/haven.h ha-agent/haven_status.c ha-agent/haven_cert.c ha-agent/haven_setup.c \
	ha-agent/haven_migrate.c ha-agent/haven_follow.c ha-agent/haven_manage.c ha-agent/haven_drain.c ha-agent/haven_resolve.c ha-agent/haven_settle.c ha-agent/resolve_plan.c ha-agent/resolve_plan.h ha-agent/constraint.c \
	ha-agent/cib_link.c ha-agent/cib_link.h
ha_agent_haven_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(OPENSSL_CFLAGS) $(CIB_CFLAGS)
ha_agent_haven_LDADD = $(PKI_LIBS) $(CIB_LIBS)

check_PROGRAMS += tests/unit/test_resolve_plan
tests_unit_test_resolve_plan_SOURCES = tests/unit/test_resolve_plan.c ha-agent/resolve_plan.c ha-agent/resolve_plan.h
tests_unit_test_resolve_plan_LDADD = $(UNIT_LIBS)
check_PROGRAMS += tests/unit/test_crm_run
tests_unit_test_crm_run_SOURCES = tests/unit/test_crm_run.c
tests_unit_test_crm_run_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)
SIM_SOURCES = tests/unit/test_ownership_sim.c tests/unit/ownership_sim.h tests/unit/ownership_sim_world.c tests/unit/ownership_sim_agent.c \
	tests/unit/ownership_sim_group.c tests/unit/ownership_sim_hv.c tests/unit/ownership_sim_moves.c tests/unit/ownership_sim_faults.c
check_PROGRAMS += tests/unit/test_ownership_sim tests/unit/test_ownership_sim2 tests/unit/test_ownership_sim5
tests_unit_test_ownership_sim_SOURCES = $(SIM_SOURCES)
tests_unit_test_ownership_sim_LDADD = ha-agent/libown.a
tests_unit_test_ownership_sim2_SOURCES = $(SIM_SOURCES)
tests_unit_test_ownership_sim2_CPPFLAGS = $(AM_CPPFLAGS) -DSIM_NODES=2
tests_unit_test_ownership_sim2_LDADD = ha-agent/libown.a
tests_unit_test_ownership_sim5_SOURCES = $(SIM_SOURCES)
tests_unit_test_ownership_sim5_CPPFLAGS = $(AM_CPPFLAGS) -DSIM_NODES=5
tests_unit_test_ownership_sim5_LDADD = ha-agent/libown.a
noinst_PROGRAMS += tests/model/resolve-replay
tests_model_resolve_replay_SOURCES = tests/model/resolve_replay.c ha-agent/resolve_plan.c ha-agent/resolve_plan.h
noinst_PROGRAMS += tests/model/ownership-replay
tests_model_ownership_replay_SOURCES = tests/model/ownership_replay.c
tests_model_ownership_replay_LDADD = ha-agent/libown.a

dist_man_MANS += docs/man/ha-agentd.8 docs/man/haven.8 docs/man/ocf_haven_DomU.7
dist_systemdsystemunit_DATA += units/ha-agentd.service

NODE_LIBS = ha-agent/libown.a $(JANSSON_LIBS) $(UNIT_LIBS)
# the rules of ownership, one by one
check_PROGRAMS += tests/unit/test_ownership_claims tests/unit/test_ownership_moves tests/unit/test_ownership_records tests/unit/test_own_codec
tests_unit_test_ownership_claims_SOURCES = tests/unit/test_ownership_claims.c tests/unit/ownership_node.c tests/unit/ownership_node.h
tests_unit_test_ownership_claims_LDADD = $(NODE_LIBS)
tests_unit_test_ownership_moves_SOURCES = tests/unit/test_ownership_moves.c tests/unit/ownership_node.c tests/unit/ownership_node.h
tests_unit_test_ownership_moves_LDADD = $(NODE_LIBS)
tests_unit_test_ownership_records_SOURCES = tests/unit/test_ownership_records.c tests/unit/ownership_node.c tests/unit/ownership_node.h
tests_unit_test_ownership_records_LDADD = $(NODE_LIBS)
tests_unit_test_own_codec_SOURCES = tests/unit/test_own_codec.c tests/unit/ownership_node.c tests/unit/ownership_node.h
tests_unit_test_own_codec_LDADD = $(NODE_LIBS)

check_PROGRAMS += tests/unit/test_fence_book
tests_unit_test_fence_book_SOURCES = tests/unit/test_fence_book.c
tests_unit_test_fence_book_LDADD = ha-agent/libown.a $(JANSSON_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_directory
tests_unit_test_directory_SOURCES = tests/unit/test_directory.c ha-agent/directory.c ha-agent/directory.h
tests_unit_test_directory_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
tests_unit_test_directory_LDADD = ha-agent/libown.a $(HAVEN_LIBS) $(JANSSON_LIBS) $(UNIT_LIBS)
