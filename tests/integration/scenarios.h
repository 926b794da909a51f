/* SPDX-License-Identifier: BSD-2-Clause */
/* scenarios.h -- every scenario, in the one list that each fabric must pass */
#ifndef INTEGRATION_SCENARIOS_H
#define INTEGRATION_SCENARIOS_H

#include "integration/rig.h"

/* X(name): void scenario_<name>(struct rig *); the rig has its defaults and has booted nothing */
#define SCENARIOS_MOVE(X)             \
	X(quiet)                      \
	X(hot_ring)                   \
	X(hot_log)                    \
	X(hot_log_all_set)            \
	X(random_pattern)             \
	X(several_writers)            \
	X(no_data_at_all)             \
	X(one_page)                   \
	X(odd_length)                 \
	X(regions)                    \
	X(regions_of_huge_pages)      \
	X(several_channels)           \
	X(verify)                     \
	X(verify_sees_a_changed_page) \
	X(verdict_and_pause)          \
	X(fabric_auto)                \
	X(again_and_back)

#define SCENARIOS_SPARSE(X)             \
	X(sparse_in_one_block)          \
	X(sparse_in_pieces)             \
	X(zero_pages_are_skipped)       \
	X(zero_pages_are_sent_unlooked) \
	X(hole_fills_in_precopy)        \
	X(hole_fills_in_the_last_pass)  \
	X(page_becomes_zero)            \
	X(page_is_punched)

#define SCENARIOS_LIMIT(X)       \
	X(bandwidth)             \
	X(downtime_out_of_reach) \
	X(timeout)               \
	X(switchover_timeout)    \
	X(cancel_before_run)     \
	X(cancel_in_setup)       \
	X(cancel_in_precopy)     \
	X(cancel_in_pause)       \
	X(cancel_while_loading)  \
	X(cancel_after_the_end)  \
	X(cancel_around_go)      \
	X(source_faults)

#define SCENARIOS_REFUSE(X)            \
	X(create_fails)                \
	X(create_makes_wrong_memory)   \
	X(load_fails_in_setup)         \
	X(load_fails_in_the_pause)     \
	X(load_fails_as_if_in_doubt)   \
	X(start_fails)                 \
	X(too_little_memory)           \
	X(name_not_wanted)             \
	X(page_size_missing)           \
	X(slow_create)                 \
	X(two_sources)                 \
	X(receiver_stopped_idle)       \
	X(receiver_stopped_in_precopy) \
	X(port_taken)                  \
	X(closed_port)                 \
	X(silent_peer)                 \
	X(http_peer)                   \
	X(peer_of_another_version)     \
	X(strangers_at_the_receiver)

#define SCENARIOS_FAILOVER(X)              \
	X(channel_dies_in_pass_1)          \
	X(channel_dies_in_a_later_pass)    \
	X(clean_granules_after_a_failover) \
	X(channel_dies_in_the_last_pass)   \
	X(one_of_several_channels_dies)    \
	X(channels_die_again_and_again)

/* What only the loop fabric can be made to do, and what is no different over another. */
#define SCENARIOS_LOOP(X)            \
	X(held_write_after_failover) \
	X(push_feeder_gives_up)      \
	X(channels_out_of_step)      \
	X(throttle_cancelled)        \
	X(throttle_with_the_log_and_a_save_that_fails)

/* One fabric stands for all that send by themselves. */
#define SCENARIOS_TCP(X) X(throttle_converges)

/* What only a fabric with rails can do, or lose. */
#define SCENARIOS_RAILS(X)                            \
	X(rdma_says_which_rails)                      \
	X(rdma_lost_at_1_percent)                     \
	X(rdma_lost_at_50_percent)                    \
	X(rdma_lost_at_99_percent)                    \
	X(rdma_lost_in_the_last_pass)                 \
	X(rdma_registration_fails_at_the_source)      \
	X(rdma_registration_fails_at_the_destination) \
	X(rdma_that_cannot_begin)                     \
	X(auto_where_rdma_cannot_begin)               \
	X(auto_takes_hardware)                        \
	X(auto_leaves_software)                       \
	X(rail_by_name)                               \
	X(rail_that_is_none)                          \
	X(nothing_is_registered_in_the_pause)         \
	X(only_data_is_registered)                    \
	X(keys_die_with_the_migration)

#define SCENARIOS_HANDOVER(X)            \
	X(wire_cut_at_each_arrow)        \
	X(wire_slow_at_each_arrow)       \
	X(ready_held_back)               \
	X(go_held_back_beyond_the_lease) \
	X(go_lost)                       \
	X(running_lost)                  \
	X(running_lost_and_peer_away)    \
	X(go_lost_and_peer_away)         \
	X(settle_by_force)               \
	X(settle_while_it_starts)        \
	X(settle_what_is_settled)

#define SCENARIOS_AUTH(X)               \
	X(key_at_both_ends)             \
	X(key_is_wrong)                 \
	X(key_at_the_source_alone)      \
	X(key_at_the_destination_alone) \
	X(key_and_channels_that_die)    \
	X(key_and_go_lost)              \
	X(key_and_a_forged_answer)      \
	X(key_and_a_crowd)

#define SCENARIOS_FEEDER(X)             \
	X(push_feeder)                  \
	X(push_feeder_with_a_key)       \
	X(push_feeder_over_failover)    \
	X(push_feeder_asks_ahead)       \
	X(push_feeder_cancelled)        \
	X(message_sink)                 \
	X(message_sink_that_fails)      \
	X(memory_that_holds_something)  \
	X(memory_made_zero_meanwhile)   \
	X(memory_slow_to_be_zero)       \
	X(memory_made_zero_alone)       \
	X(memory_of_huge_pages)         \
	X(memory_that_is_not_made_zero) \
	X(memory_of_others_survives)    \
	X(messages_back)                \
	X(messages_back_over_failover)  \
	X(messages_that_nobody_takes)   \
	X(message_back_that_fails)      \
	X(link_both_ways)               \
	X(link_with_a_lazy_reader)      \
	X(link_over_failover)

/* Guest memory that turns out not to be there. */
#define SCENARIOS_DAMAGE(X)        \
	X(damage_in_pass_1)        \
	X(damage_in_a_later_pass)  \
	X(damage_in_the_last_pass) \
	X(damage_seen_by_verify)   \
	X(damage_at_the_destination)

#define SCENARIOS(X)          \
	SCENARIOS_MOVE(X)     \
	SCENARIOS_SPARSE(X)   \
	SCENARIOS_LIMIT(X)    \
	SCENARIOS_REFUSE(X)   \
	SCENARIOS_FAILOVER(X) \
	SCENARIOS_HANDOVER(X) \
	SCENARIOS_AUTH(X)     \
	SCENARIOS_FEEDER(X)   \
	SCENARIOS_DAMAGE(X)

#define SCENARIO_DECLARE(name) void scenario_##name(struct rig *rig);
SCENARIOS(SCENARIO_DECLARE)
SCENARIOS_LOOP(SCENARIO_DECLARE)
SCENARIOS_TCP(SCENARIO_DECLARE)
SCENARIOS_RAILS(SCENARIO_DECLARE)
#undef SCENARIO_DECLARE

#endif
