//! One file per peer, and which of them are measured.

pub(crate) mod activemq;
#[cfg(feature = "iggy")]
pub(crate) mod iggy;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
pub(crate) mod nats;
pub(crate) mod posthaste;
pub(crate) mod rabbitmq;
pub(crate) mod redis;
mod stomp;

use crate::args::Compare;
#[cfg(not(all(feature = "kafka", feature = "iggy")))]
use anyhow::bail;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A peer in one of its configurations.
pub(crate) enum Any {
    Posthaste(posthaste::Posthaste),
    Redis(redis::Redis),
    Nats(nats::Nats),
    RabbitMq(rabbitmq::RabbitMq),
    ActiveMq(activemq::ActiveMq),
    #[cfg(feature = "kafka")]
    Kafka(kafka::Kafka),
    #[cfg(feature = "iggy")]
    Iggy(iggy::Iggy),
}

/// The same expression for whichever peer it is, compiled for each.
macro_rules! each {
    ($any:expr, $peer:ident => $do:expr) => {
        match $any {
            $crate::peers::Any::Posthaste($peer) => $do,
            $crate::peers::Any::Redis($peer) => $do,
            $crate::peers::Any::Nats($peer) => $do,
            $crate::peers::Any::RabbitMq($peer) => $do,
            $crate::peers::Any::ActiveMq($peer) => $do,
            #[cfg(feature = "kafka")]
            $crate::peers::Any::Kafka($peer) => $do,
            #[cfg(feature = "iggy")]
            $crate::peers::Any::Iggy($peer) => $do,
        }
    };
}
pub(crate) use each;

/// The peers that were asked for, in the order of a round, and why others are left out.
pub(crate) fn chosen(args: &Compare) -> Result<(Vec<Any>, Vec<String>)> {
    let (mut peers, mut skipped) = (Vec::new(), Vec::new());
    let mut add = |name: &str, make: &dyn Fn() -> Result<Any>| {
        if !is_wanted(&args.only, name) {
            return;
        }
        match make() {
            Ok(peer) => peers.push(peer),
            Err(error) => skipped.push(format!("{name}: {error:#}")),
        }
    };
    add("posthaste", &|| Ok(Any::Posthaste(posthaste::Posthaste::new(&args.posthaste)?)));
    add("redis-always", &|| Ok(Any::Redis(redis::Redis::new(&args.redis, true)?)));
    add("redis-everysec", &|| Ok(Any::Redis(redis::Redis::new(&args.redis, false)?)));
    add("nats-always", &|| Ok(Any::Nats(nats::Nats::new(&args.nats, true)?)));
    add("nats-default", &|| Ok(Any::Nats(nats::Nats::new(&args.nats, false)?)));
    add("rabbitmq-quorum", &|| Ok(Any::RabbitMq(rabbitmq::RabbitMq::new(true)?)));
    add("rabbitmq-classic", &|| Ok(Any::RabbitMq(rabbitmq::RabbitMq::new(false)?)));
    add("activemq-sync", &|| Ok(Any::ActiveMq(activemq::ActiveMq::new(true)?)));
    // Its default is its strictest, so the relaxed setting is measured only where it is named.
    if args.only.iter().any(|name| name == "activemq-periodic") {
        add("activemq-periodic", &|| Ok(Any::ActiveMq(activemq::ActiveMq::new(false)?)));
    }
    for (name, is_strict) in [("kafka-flush", true), ("kafka-default", false)] {
        add(name, &|| kafka(args.kafka.as_deref(), is_strict));
    }
    for (name, is_strict) in [("iggy-fsync", true), ("iggy-default", false)] {
        add(name, &|| iggy(args.iggy.as_deref(), is_strict));
    }
    Ok((peers, skipped))
}

fn kafka(home: Option<&Path>, is_strict: bool) -> Result<Any> {
    let home = home.context("no registry carries it; give --kafka DIR")?;
    #[cfg(feature = "kafka")]
    return Ok(Any::Kafka(kafka::Kafka::new(home, is_strict)?));
    #[cfg(not(feature = "kafka"))]
    let _unused = is_strict;
    #[cfg(not(feature = "kafka"))]
    bail!("{} was given, but this build has no feature kafka", home.display());
}

fn iggy(home: Option<&Path>, is_strict: bool) -> Result<Any> {
    let home = home.context("no registry carries it; give --iggy DIR")?;
    #[cfg(feature = "iggy")]
    return Ok(Any::Iggy(iggy::Iggy::new(home, is_strict)?));
    #[cfg(not(feature = "iggy"))]
    let _unused = is_strict;
    #[cfg(not(feature = "iggy"))]
    bail!("{} was given, but this build has no feature iggy", home.display());
}

/// Whether a name, or the beginning of it, was asked for.
fn is_wanted(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|wanted| name.starts_with(wanted.as_str()))
}

/// A path that holds in any folder; a bare name is looked up as a shell would.
pub(crate) fn program(path: &Path) -> Result<PathBuf> {
    let is_bare = path.components().count() == 1 && !path.exists();
    Ok(if is_bare { path.to_owned() } else { std::path::absolute(path)? })
}

/// The first line that a program says of its version.
fn version(program: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("{} cannot be run", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_name_is_enough() {
        let only = ["redis".to_owned(), "nats-always".to_owned()];
        assert!(is_wanted(&only, "redis-everysec") && is_wanted(&only, "nats-always"));
        assert!(!is_wanted(&only, "nats-default"));
        assert!(is_wanted(&[], "anything"));
    }
}
