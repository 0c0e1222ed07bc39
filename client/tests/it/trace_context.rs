//! Trace context: carried from the publish to whoever sees the message.

use posthaste::{Bytes, Client, Properties, TraceContext};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_trace_goes_from_publish_to_delivery_worker_and_what_they_publish() {
    let client = Client::connect("memory:").await.unwrap();
    let (orders, invoices) = (client.queue("orders"), client.queue("invoices"));
    orders.declare().await.unwrap();
    invoices.declare().await.unwrap();
    let trace = TraceContext::parse(PARENT, Some("congo=t61rcWkgMzE")).unwrap();
    let other = TraceContext::new([1; 16], [1; 8], false).unwrap();
    let body = Bytes::from("7");
    orders.publish(&body).header("h", "v").trace(other).trace(trace.clone()).await.unwrap();
    let peeked = orders.peek(1).await.unwrap();
    assert_eq!(peeked[0].trace(), Some(trace.clone()));
    assert_eq!(peeked[0].headers().count(), 3, "the later trace is in place of the other");

    let worker = orders.worker();
    let working = tokio::spawn(worker.run(std::future::pending(), |body: Bytes, ctx| async move {
        assert_eq!(ctx.header("traceparent"), Some(PARENT));
        let child = ctx.trace().map(|trace| trace.child([2; 8]));
        let producer = ctx.client().queue("invoices").producer().build();
        let _confirm = producer.send_with(&body, &Properties::new().trace(child)).await?;
        producer.flush().await?;
        Ok(())
    }));
    let mut consumer = invoices.consume().await.unwrap();
    let invoice = consumer.next().await.unwrap().unwrap();
    let child = invoice.trace().unwrap();
    assert_eq!((child.trace_id(), child.parent_id()), (trace.trace_id(), [2; 8]));
    assert_eq!((child.state(), child.is_sampled()), (Some("congo=t61rcWkgMzE"), true));
    invoice.ack().await.unwrap();
    working.abort();
}

#[tokio::test]
async fn a_trace_that_cannot_be_read_is_none_and_does_no_harm() {
    let client = Client::connect("memory:").await.unwrap();
    let orders = client.queue("orders");
    orders.declare().await.unwrap();
    let body = Bytes::from("7");
    orders.publish(&body).header("traceparent", "00-nonsense").trace(None).await.unwrap();
    orders.publish(&body).header("traceparent", PARENT).header("tracestate", "=").await.unwrap();
    let seen = orders.peek(2).await.unwrap();
    assert_eq!((seen[0].trace(), seen[0].header("traceparent")), (None, Some("00-nonsense")));
    assert_eq!(seen[1].trace().unwrap().state(), None);
    let error = TraceContext::parse("00-nonsense", None).unwrap_err();
    assert_eq!(error.kind(), posthaste::ErrorKind::Invalid);
}
