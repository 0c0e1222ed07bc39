//! Where the load goes: queues that the benchmark makes and removes, or one that was named.

use crate::bench::{Load, What, body};
use crate::context::Context;
use crate::declared::not_found;
use crate::errors::{Exit, Failure};
use posthaste::{Client, Kind};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Declares and deletes that are under way at once.
const AT_ONCE: usize = 64;
/// How long ids are remembered, if messages have some.
const ID_WINDOW: Duration = Duration::from_secs(3_600);

/// The queues of a run.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) run: u32,
    pub(crate) queues: Arc<Vec<String>>,
    /// With groups the destinations are topics, each with all of them.
    pub(crate) groups: Vec<String>,
    own: bool,
    client: Client,
}

impl Scene {
    pub(crate) async fn set(
        what: What,
        load: &Load,
        groups: usize,
        context: &Context,
    ) -> Result<Self, Failure> {
        let client = context.connect().await?;
        let run = body::run_id();
        if let Some(dest) = &load.dest {
            check(what, load, dest, &client).await?;
            let queues = Arc::new(vec![dest.clone()]);
            return Ok(Self { run, queues, groups: Vec::new(), own: false, client });
        }
        let queues: Vec<String> =
            (0..load.queues).map(|at| format!("bench-{run:08x}-{at}")).collect();
        let groups: Vec<String> = (0..groups).map(|at| format!("group-{at}")).collect();
        let scene = Self { run, queues: Arc::new(queues), groups, own: true, client };
        let window = if load.ids { ID_WINDOW } else { Duration::ZERO };
        let set = scene.each(move |client, name, groups| async move {
            if groups.is_empty() {
                client.queue(name).declare().id_window(window).await?;
                return Ok(());
            }
            let topic = client.topic(name);
            topic.declare().id_window(window).await?;
            for group in &groups {
                topic.group(group).declare().await?;
            }
            Ok(())
        });
        if let Err(failure) = set.await {
            // Some may be there; the reason why not all are matters more than leftovers.
            drop(scene.strike().await);
            return Err(failure);
        }
        Ok(scene)
    }

    /// How often each message is delivered.
    pub(crate) fn copies(&self) -> u64 {
        self.groups.len().max(1) as u64
    }

    /// Removes what this run made.
    pub(crate) async fn strike(&self) -> Result<(), Failure> {
        if !self.own {
            return Ok(());
        }
        self.each(|client, name, groups| async move {
            let deleted = match groups.is_empty() {
                true => client.queue(name).delete().await,
                false => client.topic(name).delete().await,
            };
            deleted.map_err(Failure::from)
        })
        .await
    }

    async fn each<F, Fut>(&self, act: F) -> Result<(), Failure>
    where
        F: Fn(Client, String, Vec<String>) -> Fut,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        let mut first_failure = Ok(());
        let mut names = self.queues.iter();
        loop {
            while tasks.len() < AT_ONCE {
                let Some(name) = names.next() else { break };
                tasks.spawn(act(self.client.clone(), name.clone(), self.groups.clone()));
            }
            match tasks.join_next().await {
                Some(Ok(done)) => first_failure = first_failure.and(done),
                Some(Err(error)) => return Err(broken(&error)),
                None => return first_failure,
            }
        }
    }
}

/// A task of the benchmark panicked or was cancelled.
pub(crate) fn broken(error: &tokio::task::JoinError) -> Failure {
    Failure::new(Exit::Failed, None, format!("a task of the benchmark ended early: {error}"))
}

/// Whether the named destination can take this load without harm to others.
async fn check(what: What, load: &Load, dest: &str, client: &Client) -> Result<(), Failure> {
    let found = client.describe(dest).await;
    let found = found.map_err(|error| not_found(error, Kind::Queue, dest))?;
    if what == What::Pub {
        return Ok(());
    }
    if what == What::Fanout {
        return Err(Failure::usage("bench fanout makes a topic of its own; leave the name out"));
    }
    if found.kind != Kind::Queue {
        let what = format!("\"{dest}\" is a topic; bench consume and e2e work on queues");
        return Err(Failure::new(Exit::Conflict, Some("PH-0203"), what));
    }
    let held: u64 = found.groups.iter().map(|group| group.ready + group.delayed).sum();
    if what == What::E2e && held > 0 && !load.yes {
        let what = format!("{dest} holds {held} messages, which this benchmark would consume");
        return Err(Failure::usage(what)
            .note("nothing was published or consumed.")
            .step("own", "leave the queue out: the benchmark makes one of its own")
            .step("accept", "--yes"));
    }
    Ok(())
}
