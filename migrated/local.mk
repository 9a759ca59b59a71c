# SPDX-License-Identifier: GPL-2.0-or-later
sbin_PROGRAMS += migrated/migrated
havenlibexec_PROGRAMS += migrated/haven-migrate-worker migrated/haven-migrate-signer

migrated_migrated_SOURCES = migrated/migrated.c migrated/migrated.h migrated/migrated_callers.c migrated/migrated_turns.c migrated/migrated_pages.c migrated/move_turns.c migrated/move_turns.h \
	migrated/fair_slots.c migrated/fair_slots.h migrated/stream.c migrated/stream.h
migrated_migrated_LDADD = $(PKI_LIBS)

migrated_haven_migrate_worker_SOURCES = migrated/migrate_worker.c migrated/migrate_worker.h migrated/migrate_ids.h \
	migrated/worker_sandbox.c migrated/worker_sandbox.h \
	migrated/move_source.c migrated/move_source.h migrated/source_links.c migrated/source_round.c migrated/source_turn.c migrated/source_meet.c migrated/source_words.c migrated/source_code.c migrated/worker_records.c migrated/ledger.c migrated/ledger.h \
	migrated/move_target.c migrated/move_target.h migrated/target_links.c migrated/pages_serve.c migrated/pages_fetch.c migrated/copy_word.c migrated/move_check.c migrated/move_check.h migrated/precopy.c migrated/precopy.h \
	migrated/page_source.c migrated/page_source.h migrated/page_sink.c migrated/page_sink.h migrated/stream_digest.c migrated/stream_digest.h migrated/stream.c migrated/stream.h \
	migrated/tls_link.c migrated/tls_link.h migrated/tls_context.c migrated/tls_context.h migrated/signer_key.c migrated/signer_key.h
migrated_haven_migrate_worker_LDADD = $(PKI_LIBS)

migrated_haven_migrate_signer_SOURCES = migrated/migrate_signer.c
migrated_haven_migrate_signer_LDADD = $(PKI_LIBS)

check_PROGRAMS += tests/unit/test_worker_sandbox
tests_unit_test_worker_sandbox_SOURCES = tests/unit/test_worker_sandbox.c tests/unit/cage.h migrated/worker_sandbox.c \
	migrated/worker_sandbox.h
tests_unit_test_worker_sandbox_LDADD = $(HAVEN_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_tls_link
tests_unit_test_tls_link_SOURCES = tests/unit/test_tls_link.c migrated/tls_link.c migrated/tls_link.h migrated/stream.c \
	migrated/stream.h
tests_unit_test_tls_link_LDADD = $(PKI_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_precopy
tests_unit_test_precopy_SOURCES = tests/unit/test_precopy.c migrated/precopy.c migrated/precopy.h
tests_unit_test_precopy_LDADD = $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_move_turns
tests_unit_test_move_turns_SOURCES = tests/unit/test_move_turns.c migrated/move_turns.c migrated/move_turns.h
tests_unit_test_move_turns_LDADD = $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_fair_slots
tests_unit_test_fair_slots_SOURCES = tests/unit/test_fair_slots.c migrated/fair_slots.c migrated/fair_slots.h
tests_unit_test_fair_slots_LDADD = $(UNIT_LIBS)

check_PROGRAMS += tests/unit/test_ledger
tests_unit_test_ledger_SOURCES = tests/unit/test_ledger.c migrated/ledger.c migrated/ledger.h
tests_unit_test_ledger_LDADD = $(UNIT_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_stream
tests_fuzz_fuzz_stream_SOURCES = tests/fuzz/fuzz_stream.c tests/fuzz/fuzz_main.c tests/fuzz/fuzz.h migrated/stream.c migrated/stream.h \
	migrated/page_sink.c migrated/page_sink.h migrated/stream_digest.c migrated/stream_digest.h
tests_fuzz_fuzz_stream_LDADD = $(HAVEN_LIBS) $(OPENSSL_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_source
tests_fuzz_fuzz_source_SOURCES = tests/fuzz/fuzz_source.c tests/fuzz/octet_link.c tests/fuzz/octet_link.h tests/fuzz/worker_double.c \
	tests/fuzz/worker_double.h tests/fuzz/fuzz_main.c tests/fuzz/fuzz.h \
	migrated/move_source.c migrated/move_source.h migrated/source_links.c migrated/source_round.c migrated/source_turn.c migrated/source_meet.c \
	migrated/source_words.c migrated/source_code.c migrated/worker_records.c migrated/migrate_worker.h migrated/ledger.c migrated/ledger.h migrated/pages_serve.c \
	migrated/precopy.c migrated/precopy.h migrated/page_source.c migrated/page_source.h migrated/stream_digest.c migrated/stream_digest.h \
	migrated/stream.c migrated/stream.h
tests_fuzz_fuzz_source_LDADD = $(HAVEN_LIBS) $(OPENSSL_LIBS)

check_PROGRAMS += tests/fuzz/fuzz_target
tests_fuzz_fuzz_target_SOURCES = tests/fuzz/fuzz_target.c tests/fuzz/octet_link.c tests/fuzz/octet_link.h tests/fuzz/worker_double.c \
	tests/fuzz/worker_double.h tests/fuzz/fuzz_main.c tests/fuzz/fuzz.h \
	migrated/move_target.c migrated/move_target.h migrated/target_links.c migrated/pages_fetch.c migrated/copy_word.c migrated/move_check.c \
	migrated/move_check.h migrated/worker_records.c migrated/migrate_worker.h migrated/page_sink.c migrated/page_sink.h migrated/page_source.c migrated/page_source.h \
	migrated/stream_digest.c migrated/stream_digest.h migrated/stream.c migrated/stream.h
tests_fuzz_fuzz_target_LDADD = $(HAVEN_LIBS) $(OPENSSL_LIBS)

# makes certificates for tests/migrated/test-move
noinst_PROGRAMS += tests/migrated/make_pki
tests_migrated_make_pki_SOURCES = tests/migrated/make_pki.c
tests_migrated_make_pki_LDADD = $(PKI_LIBS)

dist_man_MANS += docs/man/migrated.8
dist_systemdsystemunit_DATA += units/migrated.service

check_PROGRAMS += tests/unit/test_stream
tests_unit_test_stream_SOURCES = tests/unit/test_stream.c migrated/stream.c migrated/stream.h migrated/page_sink.c migrated/page_sink.h migrated/stream_digest.c migrated/stream_digest.h \
	migrated/page_source.c migrated/page_source.h
tests_unit_test_stream_LDADD = $(HAVEN_LIBS) $(OPENSSL_LIBS) $(UNIT_LIBS)
