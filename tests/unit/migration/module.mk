# SPDX-License-Identifier: BSD-2-Clause
unit_tests += test_memory
test_memory_srcs := \
	tests/support/hugepages.c \
	tests/unit/migration/test_memory.c
unit_tests += test_zero
test_zero_srcs := tests/unit/migration/test_zero.c
unit_tests += test_zero_look
test_zero_look_srcs := tests/unit/migration/test_zero_look.c
unit_tests += test_extents
test_extents_srcs := tests/unit/migration/test_extents.c
unit_tests += test_pagehash
test_pagehash_srcs := tests/unit/migration/test_pagehash.c
unit_tests += test_populate
test_populate_srcs := tests/unit/migration/test_populate.c tests/support/two_nodes.c
unit_tests += test_resident
test_resident_srcs := tests/unit/migration/test_resident.c
unit_tests += test_synthetic
test_synthetic_srcs := \
	tests/support/synthetic.c \
	tests/support/synthetic_guest.c \
	tests/unit/migration/test_synthetic.c
unit_tests += test_forecast
test_forecast_srcs := tests/unit/migration/test_forecast.c
unit_tests += test_throttle
test_throttle_srcs := tests/unit/migration/test_throttle.c
unit_tests += test_fate
test_fate_srcs := tests/unit/migration/test_fate.c
unit_tests += test_handover
test_handover_srcs := tests/unit/migration/test_handover.c
unit_tests += test_blank
test_blank_srcs := tests/unit/migration/test_blank.c
unit_tests += test_gaps
test_gaps_srcs := tests/unit/migration/test_gaps.c
unit_tests += test_payload
test_payload_srcs := tests/unit/migration/test_payload.c
unit_tests += test_peer
test_peer_srcs := tests/unit/migration/test_peer.c
unit_tests += test_incoming
test_incoming_srcs := \
	tests/integration/breaker.c \
	tests/integration/breaker_tcp.c \
	tests/unit/migration/test_incoming.c
unit_tests += test_route
test_route_srcs := \
	tests/integration/breaker.c \
	tests/integration/breaker_tcp.c \
	tests/unit/migration/test_route.c
unit_tests += test_auth
test_auth_srcs := tests/unit/migration/test_auth.c
