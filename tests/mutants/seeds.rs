//! The seeded bugs, by the promise they break, and the tests that notice them: in CI the first that does is enough.

/// A bug on purpose.
#[derive(Debug)]
pub(crate) struct Seed {
    /// The word in the source.
    pub(crate) name: &'static str,
    /// What it breaks, as in `docs/guarantees.md`.
    pub(crate) promise: &'static str,
    /// What it does.
    pub(crate) bug: &'static str,
    /// Tests that notice it, the one to try first in front.
    pub(crate) tests: &'static [&'static str],
}

const CRASH: &str = "storage::tests::it::crash::p01_confirmed_blocks_survive_every_crash_image";
const TORN: &str =
    "storage::tests::it::crash::p02_an_unconfirmed_block_is_there_whole_or_not_at_all";
const PLACES: &str = "storage::tests::it::crash::p20_one_place_names_one_block_for_ever";
const LIVES: &str =
    "storage::tests::it::faults::p01_confirmed_blocks_survive_many_lives_of_faults_and_crashes";
const SYNCS: &str = "storage::tests::it::faults::p07_nothing_is_confirmed_after_a_failed_sync";
const DIRECTORIES: &str =
    "storage::tests::it::faults::p07_a_failed_directory_sync_confirms_nothing_that_needs_it";
const BROKER_CRASH: &str =
    "broker::engine::tests::crash::p01_to_p06_hold_in_every_crash_image_of_a_brokers_life";
const BROKER_SYNCS: &str =
    "broker::engine::tests::crash::p07_nothing_is_confirmed_after_a_sync_has_failed";
const HISTORIES: &str =
    "broker::shard::tests::history::the_shard_agrees_with_a_naive_broker_through_random_histories";
const SIMULATION: &str =
    "broker::engine::tests::simulation::runs::p01_to_p32_hold_in_random_histories_with_faults";

/// All of them.
pub(crate) const SEEDS: &[Seed] = &[
    Seed {
        name: "confirm-before-sync",
        promise: "P1",
        bug: "writes a block and never syncs it",
        tests: &[CRASH, BROKER_CRASH, SIMULATION],
    },
    Seed {
        name: "confirm-at-admission",
        promise: "P1",
        bug: "confirms a publish when it is admitted, before its block is written",
        tests: &[BROKER_CRASH, SIMULATION],
    },
    Seed {
        name: "sync-wrong-file",
        promise: "P1",
        bug: "syncs another file than the checkpoint that it has written",
        tests: &[CRASH, LIVES],
    },
    Seed {
        name: "skip-directory-sync",
        promise: "P1",
        bug: "does not sync the directory of a new segment",
        tests: &[CRASH, DIRECTORIES],
    },
    Seed {
        name: "rename-without-sync",
        promise: "P13",
        bug: "does not sync the directory after it has named a checkpoint",
        tests: &[CRASH, DIRECTORIES],
    },
    Seed {
        name: "visible-before-sync",
        promise: "P4",
        bug: "moves the end of what readers may see before the sync",
        tests: &[
            "storage::writer::tests::log_thread_answers_with_errors_after_the_first_failed_sync",
        ],
    },
    Seed {
        name: "reply-before-commit",
        promise: "P5, P6",
        bug: "answers a settle, declare or delete before it is stored",
        tests: &[BROKER_CRASH, SIMULATION],
    },
    Seed {
        name: "confirm-before-last-block",
        promise: "P5",
        bug: "answers when the first of several blocks is stored",
        tests: &[
            "broker::engine::open::tests::too_many_commands_for_a_block_go_on_in_the_next_and_promises_wait_for_the_last",
        ],
    },
    Seed {
        name: "retry-failed-sync",
        promise: "P7",
        bug: "tries a failed sync again and believes the second answer",
        tests: &[SYNCS, LIVES, BROKER_SYNCS],
    },
    Seed {
        name: "ignore-sync-error",
        promise: "P7",
        bug: "takes a failed sync for a good one",
        tests: &[SYNCS, LIVES, BROKER_CRASH],
    },
    Seed {
        name: "go-on-after-error",
        promise: "P7",
        bug: "writes on after a write or sync has failed",
        tests: &[
            SYNCS,
            "storage::tests::it::faults::p07_nothing_is_confirmed_after_a_failed_write",
        ],
    },
    Seed {
        name: "trust-page-cache",
        promise: "P8",
        bug: "does not write the tail again after an unclean stop",
        tests: &[
            "storage::tests::it::faults::p08_recovery_does_not_trust_a_cache_that_a_failed_sync_left",
            "storage::tests::it::faults::p08_what_recovery_serves_after_a_kill_survives_a_power_cut",
            BROKER_SYNCS,
            SIMULATION,
        ],
    },
    Seed {
        name: "trust-found-names",
        promise: "P8",
        bug: "does not sync the names that it found at the start",
        tests: &[
            "storage::tests::it::faults::p08_what_recovery_serves_after_a_kill_survives_a_power_cut",
        ],
    },
    Seed {
        name: "trust-read-superblock",
        promise: "P8",
        bug: "writes over the other copy of a superblock that only the page cache may have",
        tests: &[
            "storage::tests::it::faults::p08_a_superblock_that_only_the_cache_has_is_not_built_upon",
        ],
    },
    Seed {
        name: "torn-block-kept",
        promise: "P2",
        bug: "takes half a block for a whole one, so a batch can be split by a crash",
        tests: &[
            TORN,
            CRASH,
            "storage::tests::it::rot::p10_a_flipped_bit_in_a_block_is_detected_and_never_delivered",
        ],
    },
    Seed {
        name: "header-unchecked",
        promise: "P10",
        bug: "does not look at the checksum of a block header",
        tests: &[
            "storage::block::tests::every_flipped_bit_of_a_header_is_noticed",
            CRASH,
            "storage::tests::it::verdict::p12_damage_with_later_blocks_is_never_cut",
        ],
    },
    Seed {
        name: "read-path-unchecked",
        promise: "P10",
        bug: "hands out stored records without a look at their checksum",
        tests: &[
            "storage::tests::it::rot::p10_what_lies_below_the_checkpoint_is_verified_when_it_is_read",
            "storage::body::tests::one_run_can_be_verified_without_the_rest_of_its_block",
        ],
    },
    Seed {
        name: "no-salt-in-checksum",
        promise: "P11",
        bug: "leaves the life of a segment out of the checksum",
        tests: &[
            "storage::block::tests::header_reads_back_in_its_own_life_only",
            "storage::format::tests::block_is_as_documented",
        ],
    },
    Seed {
        name: "reuse-generation",
        promise: "P11, P20",
        bug: "gives a new segment the number of the last one after a crash",
        tests: &[PLACES, CRASH, LIVES],
    },
    Seed {
        name: "no-new-epoch",
        promise: "P11",
        bug: "does not count the starts of the process",
        tests: &[
            PLACES,
            TORN,
            "storage::recovery::tests::report_is_one_line_that_says_what_was_done",
        ],
    },
    Seed {
        name: "cut-at-damage",
        promise: "P12",
        bug: "cuts the log at the first bad block, whatever follows",
        tests: &[
            "storage::tests::it::verdict::p12_damage_with_later_blocks_is_never_cut",
            "storage::tests::it::rot::p10_a_flipped_bit_in_a_block_is_detected_and_never_delivered",
            "broker::engine::tests::damage::p12_damage_is_accepted_once_and_the_next_start_needs_no_flag",
        ],
    },
    Seed {
        name: "zeros-end-the-log",
        promise: "P12",
        bug: "takes a header of zeros for the end of the log",
        tests: &[
            "storage::tests::it::verdict::p12_damage_beside_a_crash_costs_at_most_the_last_block",
            "storage::recovery::tests::gap_of_several_blocks_is_reported_with_its_size",
        ],
    },
    Seed {
        name: "one-superblock-copy",
        promise: "P13",
        bug: "writes the superblock always to the same place",
        tests: &[CRASH, BROKER_CRASH],
    },
    Seed {
        name: "checkpoint-ahead",
        promise: "P1",
        bug: "notes that a checkpoint covers more than it has",
        tests: &[PLACES, LIVES],
    },
    Seed {
        name: "free-too-early",
        promise: "P13",
        bug: "frees a segment that the older checkpoint still needs",
        tests: &[
            "storage::tests::it::files::p13_a_damaged_checkpoint_is_never_used_and_the_one_before_it_is",
        ],
    },
    Seed {
        name: "reuse-pinned-segment",
        promise: "P16",
        bug: "uses a segment again while a reader holds it",
        tests: &[
            "storage::writer::tests::p16_no_segment_is_used_again_while_somebody_reads_it",
            "storage::tests::it::threads::p16_a_reader_never_sees_bytes_of_another_life_of_a_segment",
        ],
    },
    Seed {
        name: "destination-not-covered",
        promise: "P17",
        bug: "leaves the destination out of the checksum of a batch",
        tests: &[
            "protocol::tests::it::batches::a_batch_for_another_destination_is_refused",
            "protocol::tests::it::golden::batches_in_the_document_are_what_is_built_and_read",
            "tests::it::publish::p17_a_batch_that_was_made_for_another_queue_is_refused",
        ],
    },
    Seed {
        name: "ack-of-another-session",
        promise: "P22",
        bug: "lets an ack of an earlier lease settle the present one",
        tests: &[
            "broker::shard::tests::delivery::a_settle_without_the_lease_changes_nothing",
            HISTORIES,
            SIMULATION,
        ],
    },
    Seed {
        name: "lease-off-by-one",
        promise: "P22",
        bug: "ends a lease a millisecond early",
        tests: &[
            "broker::shard::tests::delivery::an_expired_lease_costs_an_attempt_and_an_extended_one_does_not",
        ],
    },
    Seed {
        name: "lease-on-wall-clock",
        promise: "P31",
        bug: "ends leases by the wall clock",
        tests: &[
            "broker::shard::tests::delivery::a_jump_of_the_wall_clock_neither_loses_nor_expires_anything",
            BROKER_CRASH,
            SIMULATION,
        ],
    },
    Seed {
        name: "time-goes-back",
        promise: "P31",
        bug: "follows a wall clock that goes back",
        tests: &["storage::writer::tests::time_never_goes_back_along_the_log"],
    },
    Seed {
        name: "redelivered-flag-lost",
        promise: "P23",
        bug: "forgets at a restart what may have been delivered",
        tests: &[
            "broker::shard::tests::restart::after_an_unclean_stop_all_that_could_have_been_delivered_is_flagged",
            BROKER_CRASH,
            "tests::it::redelivery::p23_without_the_flag_it_is_certainly_the_first_delivery",
            SIMULATION,
        ],
    },
    Seed {
        name: "attempt-not-counted",
        promise: "P23",
        bug: "does not count a failed attempt",
        tests: &[
            "broker::shard::tests::delivery::the_last_attempt_ends_among_the_dead_letters_with_its_reason",
            BROKER_CRASH,
            HISTORIES,
            "tests::it::dead_letters::p24_after_its_last_attempt_a_message_is_kept_with_the_reason",
            SIMULATION,
        ],
    },
    Seed {
        name: "dead-letter-deletes-first",
        promise: "P24",
        bug: "gives the bytes of a dead letter away",
        tests: &[
            "broker::shard::tests::topics::dead_letters_are_replayed_with_attempts_reset_or_dropped",
            "broker::shard::tests::delivery::the_last_attempt_ends_among_the_dead_letters_with_its_reason",
        ],
    },
    Seed {
        name: "woken-message-forgotten",
        promise: "P24",
        bug: "loses sight of a delayed message when its time has come",
        tests: &[
            "broker::shard::tests::audit::a_message_that_is_nowhere_shows_as_a_difference",
            HISTORIES,
        ],
    },
    Seed {
        name: "loss-in-silence",
        promise: "P12",
        bug: "settles what cannot be read, instead of telling it among the dead letters",
        tests: &[
            "broker::engine::tests::damage::p12_damage_met_while_serving_costs_only_what_it_hit_and_is_told",
            "broker::shard::tests::delivery::unreadable_messages_become_dead_letters_and_the_rest_goes_on",
        ],
    },
    Seed {
        name: "lost-wakeup",
        promise: "P25",
        bug: "does not look for a consumer for what a leaving one gives back",
        tests: &[HISTORIES, SIMULATION],
    },
    Seed {
        name: "half-a-group",
        promise: "P2",
        bug: "keeps the offsets that parts of a refused atomic group have taken",
        tests: &[
            "broker::shard::tests::atomic::whichever_part_is_refused_nothing_is_done_and_the_part_is_named",
            HISTORIES,
        ],
    },
    Seed {
        name: "split-group",
        promise: "P2",
        bug: "lets the settles of an atomic group go on in the next block",
        tests: &[
            "broker::engine::open::tests::an_atomic_group_and_all_before_it_go_into_one_block",
        ],
    },
    Seed {
        name: "ids-not-persisted",
        promise: "P27",
        bug: "forgets in a checkpoint what was stored under which id",
        tests: &[
            "broker::shard::tests::ids::ids_last_for_the_window_over_restarts_and_not_much_longer",
            HISTORIES,
        ],
    },
    Seed {
        name: "dedup-not-persisted",
        promise: "P27",
        bug: "forgets in a checkpoint what a producer has published",
        tests: &[
            "broker::shard::tests::catalog::a_resend_is_stored_once_whether_or_not_the_first_is_committed",
            "broker::shard::tests::checkpoint::equal_state_has_equal_bytes",
            SIMULATION,
        ],
    },
    Seed {
        name: "reserve-ignored",
        promise: "P28",
        bug: "lets publishes have the space that is kept for acks",
        tests: &[
            "storage::tests::it::space::p28_publishes_stop_before_the_log_does_and_resume_after_a_checkpoint",
        ],
    },
    Seed {
        name: "failed-allocation-stays",
        promise: "P28",
        bug: "leaves a file behind for which there was no space",
        tests: &["storage::tests::it::space::p28_a_full_disk_leaves_no_half_made_files_behind"],
    },
    Seed {
        name: "quota-after-allocation",
        promise: "P30",
        bug: "looks at the limit of a queue after it has given the offset",
        tests: &[
            "broker::shard::tests::catalog::a_full_queue_refuses_counting_what_is_on_the_way",
            "broker::engine::tests::paths::a_full_queue_refuses_and_takes_again_after_acks",
            SIMULATION,
        ],
    },
    Seed {
        name: "length-unbounded",
        promise: "P29",
        bug: "waits for a frame of any length before it looks at the limit",
        tests: &[
            "protocol::tests::it::frames::a_declared_length_is_refused_before_anything_else_arrives",
            "tests::it::hostile::framing::a_length_beyond_the_limit_is_refused_before_anything_follows",
        ],
    },
    Seed {
        name: "input-dropped",
        promise: "P1, P5",
        bug: "drops an input of a busy turn",
        tests: &["broker::engine::tests::driver::every_input_of_a_busy_turn_is_handled"],
    },
];
