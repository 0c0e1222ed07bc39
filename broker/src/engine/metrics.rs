//! Plain counters of the engine, handed to the `metrics` facade once a tick.
//!
//! Handles are registered once; nothing per message touches them.

use super::Now;
use super::core::Core;
use super::services::Tally;
use crate::shard::effects::Counts;
use metrics::{Counter, Gauge};
use posthaste_protocol::response::Stats;

/// Counted on the loop, in plain integers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) confirmed: u64,
    pub(crate) duplicates: u64,
    pub(crate) refused: u64,
    pub(crate) delivered: u64,
    pub(crate) blocks: u64,
    pub(crate) connections_opened: u64,
    pub(crate) id_conflicts: u64,
    pub(crate) totals: Counts,
}

impl Counters {
    pub(super) fn add(&mut self, counts: &Counts) {
        let totals = &mut self.totals;
        totals.published += counts.published;
        totals.acked += counts.acked;
        totals.retried += counts.retried;
        totals.expired += counts.expired;
        totals.dead = totals.dead.saturating_add(counts.dead);
        totals.purged += counts.purged;
        totals.trimmed += counts.trimmed;
        totals.lost = totals.lost.saturating_add(counts.lost);
        totals.replayed += counts.replayed;
        totals.dropped += counts.dropped;
    }
}

/// The registered handles.
#[derive(Clone)]
pub(crate) struct Handles {
    counters: [Counter; 13],
    gauges: [Gauge; 7],
    pub(super) services: ServiceHandles,
}

/// Those of request and reply.
#[derive(Clone)]
pub(super) struct ServiceHandles {
    counters: [Counter; 7],
    gauges: [Gauge; 2],
}

impl ServiceHandles {
    fn register() -> ServiceHandles {
        use metrics::{counter, gauge};
        let asked = |outcome| counter!("posthaste_service_requests_total", "outcome" => outcome);
        ServiceHandles {
            counters: [
                asked("replied"),
                asked("failed"),
                asked("no_responder"),
                asked("timed_out"),
                asked("lost"),
                asked("refused"),
                counter!("posthaste_service_answers_dropped_total"),
            ],
            gauges: [gauge!("posthaste_services"), gauge!("posthaste_service_requests_under_way")],
        }
    }

    /// Publishes the present values.
    pub(super) fn publish(&self, tally: &Tally, (services, requests): (usize, usize)) {
        let values = [
            tally.replied,
            tally.failed,
            tally.no_responder,
            tally.timed_out,
            tally.lost,
            tally.refused,
            tally.answers_dropped,
        ];
        for (counter, value) in self.counters.iter().zip(values) {
            counter.absolute(value);
        }
        #[expect(clippy::cast_precision_loss, reason = "gauges are doubles by definition")]
        let values = [services as f64, requests as f64];
        for (gauge, value) in self.gauges.iter().zip(values) {
            gauge.set(value);
        }
    }
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handles").finish_non_exhaustive()
    }
}

impl Handles {
    /// Registers every metric with the recorder in force.
    pub(crate) fn register() -> Handles {
        use metrics::{counter, gauge};
        let settled = |outcome| counter!("posthaste_messages_settled_total", "outcome" => outcome);
        Handles {
            counters: [
                counter!("posthaste_messages_confirmed_total"),
                counter!("posthaste_publish_duplicates_total"),
                counter!("posthaste_requests_refused_total"),
                counter!("posthaste_messages_delivered_total"),
                counter!("posthaste_blocks_committed_total"),
                counter!("posthaste_connections_opened_total"),
                settled("ack"),
                settled("retry"),
                settled("lease_expired"),
                counter!("posthaste_messages_dead_lettered_total"),
                settled("purged"),
                counter!("posthaste_messages_lost_total"),
                counter!("posthaste_publish_id_conflicts_total"),
            ],
            gauges: [
                gauge!("posthaste_connections"),
                gauge!("posthaste_targets"),
                gauge!("posthaste_storage_bytes", "kind" => "log"),
                gauge!("posthaste_storage_free_bytes"),
                gauge!("posthaste_uptime_seconds"),
                gauge!("posthaste_messages_unaccounted"),
                gauge!("posthaste_message_ids"),
            ],
            services: ServiceHandles::register(),
        }
    }

    /// Publishes the present values.
    pub(crate) fn publish(
        &self,
        counters: &Counters,
        stats: &Stats,
        unaccounted: u64,
        message_ids: usize,
    ) {
        let totals = &counters.totals;
        let values = [
            counters.confirmed,
            counters.duplicates,
            counters.refused,
            counters.delivered,
            counters.blocks,
            counters.connections_opened,
            totals.acked,
            totals.retried,
            totals.expired,
            totals.dead,
            totals.purged,
            totals.lost,
            counters.id_conflicts,
        ];
        for (counter, value) in self.counters.iter().zip(values) {
            counter.absolute(value);
        }
        #[expect(clippy::cast_precision_loss, reason = "gauges are doubles by definition")]
        let values = [
            f64::from(stats.connections),
            f64::from(stats.targets),
            stats.log_bytes as f64,
            stats.free_bytes as f64,
            stats.uptime_ms as f64 / 1_000.0,
            unaccounted as f64,
            message_ids as f64,
        ];
        for (gauge, value) in self.gauges.iter().zip(values) {
            gauge.set(value);
        }
    }
}

impl Core {
    /// Hands the counters to the metrics facade.
    pub(crate) fn publish_metrics(&self, handles: &Handles, now: Now) {
        let (unaccounted, ids) = (self.shard.unaccounted_in_all(), self.shard.message_id_count());
        handles.publish(&self.counters, &self.stats(now), unaccounted, ids);
        handles.services.publish(&self.services.tally, self.services.counts());
    }
}
