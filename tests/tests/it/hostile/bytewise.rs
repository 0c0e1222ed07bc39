//! Every case once more, each byte sent on its own: the outcome must be the same.
//!
//! The tidy test sees to it that none is forgotten.

use posthaste_tests::raw::byte_by_byte;

macro_rules! once_more {
    ($($module:ident: $($case:ident)+;)+) => {
        $(mod $module {
            $(#[test]
            fn $case() {
                super::byte_by_byte(crate::hostile::$module::$case);
            })+
        })+
    };
}

once_more! {
    catalog:
        delays_of_many_messages_for_many_groups_are_refused_at_once
        thousands_of_queues_cost_a_few_megabytes_and_hold_nobody_up
        a_name_that_is_something_else_is_a_conflict_and_stays_what_it_is
        what_is_deleted_while_it_is_used_leaves_no_orphans
        a_purge_takes_what_nobody_holds_and_stales_nothing_else
        producers_repeat_jump_and_pretend_and_each_message_is_stored_once
        a_client_that_opens_sessions_without_end_costs_bounded_memory
        times_beyond_the_calendar_are_refused_and_those_of_the_past_do_no_harm
        wildcards_mean_nothing
        p30_one_group_too_many_is_refused_by_name_and_the_others_are_described
    ;
    connections:
        who_says_nothing_takes_so_many_places_and_for_so_long
        a_flood_of_connects_disturbs_nobody_and_fills_no_log
        a_peer_that_vanished_is_found_out_and_its_messages_go_to_others
        who_sends_no_more_hears_every_confirm_and_then_the_end
        what_was_published_before_a_broken_frame_is_answered_before_the_end
        a_reset_in_the_middle_of_a_batch_stores_nothing_of_it
        a_client_that_calls_itself_names_forges_no_line_of_the_log
        the_door_for_metrics_speaks_http_only_and_takes_nobody_for_long
        large_frames_that_never_end_share_one_memory
        a_publisher_that_never_reads_is_held_back_and_disturbs_nobody
        p30_at_the_limit_of_files_the_new_one_is_refused_by_name_and_the_others_go_on
    ;
    framing:
        a_length_beyond_the_limit_is_refused_before_anything_follows
        a_frame_of_exactly_the_limit_is_read
        a_length_shorter_than_a_header_is_malformed
        inner_lengths_beyond_the_frame_are_malformed
        counts_that_overflow_are_malformed
        a_wrong_checksum_closes_the_connection
        unknown_commands_and_flags_are_unsupported_and_the_connection_stays
        what_only_a_broker_says_is_refused_from_a_client
        a_command_before_hello_closes_the_connection
        hello_twice_closes_the_connection
        authentication_is_a_slot_that_says_so
        a_truncated_frame_changes_nothing
    ;
    records:
        names_outside_the_rule_are_refused
        a_name_that_only_looks_hostile_is_harmless
        damaged_and_impossible_batches_are_refused_and_nothing_is_stored
        impossible_records_are_refused_and_nothing_is_stored
        keys_headers_and_bodies_beyond_their_limits_are_too_large
        numbers_out_of_range_are_refused
        text_of_a_stranger_is_escaped_where_people_read_it
    ;
    resources:
        thousands_of_refusals_at_once_are_all_told
        a_search_for_near_names_holds_nobody_up
        credit_cannot_overflow
        settles_of_others_unknown_and_absurd_ranges_change_nothing
        channels_have_a_limit_and_one_consumer_each
        a_consumer_that_never_reads_costs_bounded_memory_and_loses_nothing
        an_unknown_number_is_not_found
        a_deleted_queue_refuses_publishes_by_its_number
    ;
    services:
        answers_to_what_was_not_asked_or_twice_disturb_nobody
        requests_without_end_are_refused_by_name_and_cost_bounded_memory
        a_requester_that_never_reads_loses_its_replies_and_costs_bounded_memory
        a_responder_that_never_reads_delays_only_what_it_has
        instances_have_a_limit_and_what_is_no_name_is_refused
    ;
    settles:
        ten_thousand_holes_asked_for_four_thousand_times_cost_what_they_cost_once
        a_range_with_ten_thousand_holes_is_answered_in_frames_that_can_be_read
        what_is_settled_stays_settled_whatever_is_said_again
        a_range_with_holes_settles_what_is_held_and_names_the_rest
        a_million_settles_of_nothing_cost_nobody_anything
        no_credit_is_no_message_and_endless_credit_is_what_the_protocol_allows
    ;
    strangers:
        http_gets_one_sentence_and_others_get_nothing
        another_major_version_gets_ours_and_is_closed
        silence_and_slowness_are_ended_by_a_deadline
        connections_that_come_and_go_leave_nothing_behind
    ;
}
