//! Publishing in atomic groups: as many at a time as the connection may have messages unconfirmed.

use crate::bench::body::Bodies;
use crate::bench::counters::{Counters, Latencies};
use crate::bench::pace::share;
use crate::bench::publishers::{Published, Publisher};
use crate::bench::scene::broken;
use crate::errors::Failure;
use posthaste::PublishError;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinSet;

/// Commits groups until told to stop, or until the publisher's share of the count is sent.
pub(crate) async fn run(publisher: &Publisher, size: usize) -> Result<Published, Failure> {
    let Publisher { load, counters, .. } = publisher;
    let index = u32::try_from(publisher.index).unwrap_or(u32::MAX);
    let mut bodies = Bodies::new(publisher.run, index, load.size);
    let mut left = load.count.map(|n| share(n, load.connections, publisher.index));
    let at_once = (load.in_flight() / size).max(1);
    let mut done = Published { sent: 0, confirmed: 0, latency: Latencies::new() };
    let mut under_way = JoinSet::new();
    while !counters.is_stopping() && left != Some(0) {
        while under_way.len() < at_once && left != Some(0) {
            let count =
                left.map_or(size, |left| usize::try_from(left).map_or(size, |n| n.min(size)));
            let nanos = counters.nanos();
            let mut group = publisher.client.atomic();
            for (body, name) in
                bodies.stamped(count, nanos).iter().zip(publisher.queues.iter().cycle())
            {
                group = group.publish(&publisher.client.queue(name.as_str()), body);
            }
            let committed = async move { (group.commit().await.map(|all| all.len()), nanos) };
            under_way.spawn(committed);
            done.sent += count as u64;
            counters.sent.fetch_add(count as u64, Ordering::Relaxed);
            left = left.map(|left| left - count as u64);
        }
        if let Some(one) = under_way.join_next().await {
            note(one.map_err(|error| broken(&error))?, &mut done, counters)?;
        }
    }
    while let Some(one) = under_way.join_next().await {
        note(one.map_err(|error| broken(&error))?, &mut done, counters)?;
    }
    Ok(done)
}

fn note(
    (committed, nanos): (Result<usize, PublishError>, u64),
    done: &mut Published,
    counters: &Arc<Counters>,
) -> Result<(), Failure> {
    let messages = committed? as u64;
    done.confirmed += messages;
    counters.confirmed.fetch_add(messages, Ordering::Relaxed);
    if counters.is_measuring() {
        done.latency.record(counters.nanos().saturating_sub(nanos));
    }
    Ok(())
}
