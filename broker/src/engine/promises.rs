//! What was promised for a block: kept when it is durable, refused when the log fails.

use super::Now;
use super::core::Core;
use super::open::{After, Waiting};
use crate::shard::effects::Effect;
use posthaste_protocol::error::ErrorReply;
use posthaste_protocol::{Request, Response};

impl Core {
    pub(super) fn keep(&mut self, waiting: Waiting, effects: &[Effect], now: Now) {
        self.confirm(&waiting.promises, effects);
        for after in waiting.afters {
            match after {
                After::Reply { connection, channel, corr, response } => {
                    self.say(connection, channel, corr, &response);
                }
                After::Receipts { connection, number, outcomes } => {
                    self.say_receipts(connection, number, &outcomes);
                }
                After::AtomicAgain { connection, number, group } => {
                    let outcomes = self.shard.atomic_again(&group, now.wall_ms);
                    self.say_receipts(connection, number, &outcomes);
                }
                After::Attach { connection, channel, corr, request } => {
                    if let Request::Consume(consume) = *request {
                        self.attach(connection, channel, corr, &consume);
                    }
                }
                After::Finish { connection, farewell } => {
                    self.finish(connection, farewell, now);
                }
                After::Unpark { group } => self.shard.unpark(group),
            }
        }
    }

    pub(super) fn refuse_all(&mut self, waiting: &Waiting, why: &ErrorReply) {
        let refused = Response::Error(why.clone());
        for promise in &waiting.promises {
            self.say(promise.connection, 0, promise.number, &refused);
        }
        for after in &waiting.afters {
            match after {
                After::Reply { connection, channel, corr, .. }
                | After::Attach { connection, channel, corr, .. } => {
                    self.say(*connection, *channel, *corr, &refused);
                }
                After::Receipts { connection, number, .. }
                | After::AtomicAgain { connection, number, .. } => {
                    self.say(*connection, 0, *number, &refused);
                }
                After::Finish { .. } | After::Unpark { .. } => {}
            }
        }
    }
}
