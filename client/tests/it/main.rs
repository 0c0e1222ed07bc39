//! The client against a scripted broker: every frame it says is looked at, every answer is chosen.
//!
//! Time is virtual (`start_paused`), so timeouts and leases take no time and cannot race.

mod atomic;
mod claims;
mod close;
mod cloudevents;
mod connect;
mod consume;
mod fake;
mod ids;
mod leases;
mod publish;
mod random;
mod real;
mod reconnect;
mod requests;
mod schedules;
mod services;
mod trace_context;
mod worker;
mod worker_by_hand;
