//! Events in three styles, as CloudEvents: with their data, with a reference to it, as a notice.
//!
//! ```sh
//! cargo run -p posthaste --example 07_events -- memory:
//! ```

use posthaste::{
    Body, BoxFuture, Client, Event, Fetch, LoadError, Loading, Reference, Resolve, TopicOf,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    total: u64,
}

const ORDERS: TopicOf<Event<Order>> = TopicOf::new("tour.order-events");

/// The shop, as a service that can be asked. Over HTTP this would be an `HttpResolver`.
struct Shop;

impl Resolve for Shop {
    fn fetch<'a>(
        &'a self,
        what: Fetch<'a>,
        mut body: Loading,
    ) -> BoxFuture<'a, Result<Loading, LoadError>> {
        Box::pin(async move {
            match what {
                Fetch::Reference(there) if there.url() == "shop:orders/7/invoiced" => {
                    body.push(br#"{"id":7,"total":990}"#)?;
                }
                Fetch::Current { source: "/shop", subject: Some("7") } => {
                    body.push(br#"{"id":7,"total":890}"#)?;
                }
                other => return Err(LoadError::not_found(format!("{other:?}"))),
            }
            Ok(body)
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = Client::connect(std::env::args().nth(1).as_deref().unwrap_or("memory:")).await?;
    let orders = client.topic(ORDERS);
    orders.declare().await?;

    let created = Event::full("order.created", Order { id: 7, total: 1_000 });
    let invoice = Reference::new("shop:orders/7/invoiced").size(20);
    let invoiced = Event::reference("order.invoiced", invoice);
    let changed = Event::notice("order.changed");
    for event in [created, invoiced, changed] {
        orders.publish(&event.source("/shop").subject("7")).key("7").await?;
    }

    let mut totals = Vec::new();
    let mut feed = orders.group("billing").consume().limit(3).await?;
    while let Some(delivery) = feed.next().await {
        let (event, delivery) = delivery?.into_parts();
        let style = match &event.body {
            Body::Full(_) => "with its data",
            Body::Reference(_) => "with a reference",
            _ => "as a notice",
        };
        // One call for all three; what is loaded is checked against the reference.
        let order = event.load(&Shop).await?;
        println!("{} {style}: {order:?}", event.kind);
        totals.push(order.total);
        delivery.ack_confirmed().await?;
    }
    assert_eq!(totals, [1_000, 990, 890], "what was, what was kept, what is now");

    orders.delete().await?;
    client.close().await?;
    Ok(())
}
