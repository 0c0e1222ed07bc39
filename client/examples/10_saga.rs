//! A saga: a trip is booked in steps, each in a service of its own, and when one fails for good, what
//! was done before is undone, in the opposite order.
//!
//! Each step is a message. A worker does it and publishes the next before its own is acked: a crash
//! repeats a step, so steps must not mind being done twice, and none is ever forgotten.
//!
//! ```sh
//! cargo run -p posthaste --example 10_saga -- memory:
//! ```

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use posthaste::{Client, Ctx, Failure, QueueOf};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Step {
    BookFlight,
    BookHotel,
    ChargeCard,
    // The ways back.
    CancelHotel,
    CancelFlight,
    Done { booked: bool },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Trip {
    id: u64,
    has_money: bool,
    step: Step,
}

const TRIPS: QueueOf<Trip> = QueueOf::new("tour.trips");

/// What is booked, by all services together. A set: booking twice is booking once.
type Bookings = Arc<Mutex<BTreeSet<(u64, &'static str)>>>;

/// Does one step and says which comes next; an error is a retry of this one.
fn advance(trip: &Trip, bookings: &Bookings) -> Step {
    let mut bookings = bookings.lock().expect("no thread panicked");
    match trip.step {
        Step::BookFlight => {
            bookings.insert((trip.id, "flight"));
            Step::BookHotel
        }
        Step::BookHotel => {
            bookings.insert((trip.id, "hotel"));
            Step::ChargeCard
        }
        Step::ChargeCard if trip.has_money => Step::Done { booked: true },
        // For good: from here on the saga goes back.
        Step::ChargeCard => Step::CancelHotel,
        Step::CancelHotel => {
            bookings.remove(&(trip.id, "hotel"));
            Step::CancelFlight
        }
        Step::CancelFlight => {
            bookings.remove(&(trip.id, "flight"));
            Step::Done { booked: false }
        }
        done @ Step::Done { .. } => done,
    }
}

async fn handle(
    trip: Trip,
    ctx: Ctx,
    bookings: Bookings,
    ended: mpsc::Sender<Trip>,
) -> Result<(), Failure> {
    if let Step::Done { .. } = trip.step {
        ended.send(trip).await?;
        return Ok(());
    }
    let next = Trip { step: advance(&trip, &bookings), ..trip.clone() };
    println!("trip {}: {:?}, then {:?}", trip.id, trip.step, next.step);
    // ORDER: the next step is stored before this one is acked.
    let key = trip.id.to_string();
    ctx.client().queue(TRIPS).publish(&next).key(key).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = Client::connect(std::env::args().nth(1).as_deref().unwrap_or("memory:")).await?;
    let trips = client.queue(TRIPS);
    trips.declare().await?;
    for (id, has_money) in [(1, true), (2, false), (3, true)] {
        let trip = Trip { id, has_money, step: Step::BookFlight };
        trips.publish(&trip).key(id.to_string()).await?;
    }

    let bookings = Bookings::default();
    let (ended, mut endings) = mpsc::channel(10);
    let mut outcomes = Vec::new();
    let shutdown = async {
        while outcomes.len() < 3 {
            let trip: Trip = endings.recv().await.expect("the worker goes on");
            outcomes.push((trip.id, trip.step));
        }
    };
    let booked_by = Arc::clone(&bookings);
    trips
        .worker()
        .ordered_by_key()
        .run(shutdown, move |trip, ctx| handle(trip, ctx, Arc::clone(&booked_by), ended.clone()))
        .await?;

    outcomes.sort_by_key(|(id, _)| *id);
    let done = |booked| Step::Done { booked };
    assert_eq!(outcomes, [(1, done(true)), (2, done(false)), (3, done(true))]);
    let booked = bookings.lock().expect("no thread panicked").clone();
    println!("booked: {booked:?}");
    let all = [(1, "flight"), (1, "hotel"), (3, "flight"), (3, "hotel")];
    assert!(booked.iter().eq(&all), "nothing is left of trip 2");

    trips.delete().await?;
    client.close().await?;
    Ok(())
}
