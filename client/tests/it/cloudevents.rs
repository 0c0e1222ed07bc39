//! Events on the wire: the test vectors of `cloudevents.json`, held against the official SDK.

use std::collections::BTreeMap;

use cloudevents::message::{
    BinaryDeserializer, BinarySerializer, MessageAttributeValue, Result as SdkResult,
};
use cloudevents::{AttributesReader, Data, event::SpecVersion};
use posthaste::{Body, Bytes, Client, Codec, Consumer, ErrorKind, Event, Properties, TopicOf};
use serde::Deserialize;
use serde_json::{Value, json};

const EVENTS: TopicOf<Event<Value>> = TopicOf::new("events");

#[derive(Debug, Deserialize)]
struct Vector {
    name: String,
    message: Message,
    event: Value,
}

/// A message without what the broker adds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
struct Message {
    id: Option<String>,
    key: Option<String>,
    headers: Vec<(String, String)>,
    body: String,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("cloudevents.json")).expect("good vectors")
}

/// The binding of docs/cloudevents.md once more, for the SDK's reader.
impl BinaryDeserializer for Message {
    fn deserialize_binary<R: Sized, V: BinarySerializer<R>>(self, visitor: V) -> SdkResult<R> {
        let mut visitor = visitor.set_spec_version(SpecVersion::V10)?;
        let text = |value: &str| MessageAttributeValue::String(value.to_owned());
        visitor = visitor.set_attribute("id", text(&self.id.expect("an id")))?;
        if let Some(key) = &self.key {
            visitor = visitor.set_extension("partitionkey", text(key))?;
        }
        for (name, value) in &self.headers {
            let core = SpecVersion::V10.attribute_names();
            visitor = match name.strip_prefix("ce-") {
                None if name == "content-type" => {
                    visitor.set_attribute("datacontenttype", text(value))?
                }
                None => visitor,
                Some("specversion") => visitor,
                Some(name) if core.contains(&name) => visitor.set_attribute(name, text(value))?,
                Some(name) => visitor.set_extension(name, text(value))?,
            };
        }
        if self.body.is_empty() {
            visitor.end()
        } else {
            visitor.end_with_data(self.body.into_bytes())
        }
    }
}

/// The same for its writer.
impl BinarySerializer<Message> for Message {
    fn set_spec_version(mut self, version: SpecVersion) -> SdkResult<Self> {
        self.headers.push(("ce-specversion".to_owned(), version.to_string()));
        Ok(self)
    }

    fn set_attribute(mut self, name: &str, value: MessageAttributeValue) -> SdkResult<Self> {
        match name {
            "id" => self.id = Some(value.to_string()),
            "partitionkey" => self.key = Some(value.to_string()),
            "datacontenttype" => {
                self.headers.push(("content-type".to_owned(), value.to_string()));
            }
            name => self.headers.push((format!("ce-{name}"), value.to_string())),
        }
        Ok(self)
    }

    fn set_extension(self, name: &str, value: MessageAttributeValue) -> SdkResult<Self> {
        self.set_attribute(name, value)
    }

    fn end_with_data(mut self, bytes: Vec<u8>) -> SdkResult<Self> {
        self.body = String::from_utf8(bytes).expect("text");
        Ok(self)
    }

    fn end(self) -> SdkResult<Self> {
        Ok(self)
    }
}

/// An event of the SDK, with its data as JSON however it was read.
fn parts(mut event: cloudevents::Event) -> (cloudevents::Event, Option<Value>) {
    let (content_type, _, data) = event.take_data();
    let data = data.map(|data| match data {
        Data::Binary(bytes) => serde_json::from_slice(&bytes).expect("JSON"),
        Data::String(text) => serde_json::from_str(&text).expect("JSON"),
        Data::Json(value) => value,
    });
    // Without data, taking it leaves the content type.
    (event, data.or_else(|| content_type.map(Value::String)))
}

async fn memory() -> Client {
    let client = Client::connect("memory:").await.expect("a broker");
    client.topic(EVENTS).declare().await.expect("declared");
    client
}

async fn publish(client: &Client, message: &Message) {
    let mut properties = Properties::new();
    for (name, value) in &message.headers {
        properties = properties.header(name, value);
    }
    if let Some(id) = &message.id {
        properties = properties.id(id);
    }
    if let Some(key) = &message.key {
        properties = properties.key(key);
    }
    let body = Bytes::from(message.body.clone());
    client.topic("events").publish(&body).properties(properties).await.expect("stored");
}

async fn next(feed: &mut Consumer<Event<Value>>) -> Event<Value> {
    let delivery = feed.next().await.expect("an event").expect("a good one");
    let (event, delivery) = delivery.into_parts();
    delivery.ack().await.expect("acked");
    event
}

#[tokio::test]
async fn events_of_the_vectors_are_read_and_written_as_the_sdk_does() {
    let client = memory().await;
    let events = client.topic(EVENTS);
    let mut feed = events.group("test").consume().await.unwrap();
    for Vector { name, message, event } in vectors() {
        // The SDK agrees that this message is that event.
        let by_sdk: cloudevents::Event = serde_json::from_value(event.clone()).unwrap();
        let read_by_sdk = BinaryDeserializer::into_event(message.clone()).unwrap();
        assert_eq!(parts(read_by_sdk), parts(by_sdk.clone()), "{name}");

        // What we read of the message is written back as it was, byte for byte.
        publish(&client, &message).await;
        let read = next(&mut feed).await;
        assert_eq!((read.id.as_str(), read.kind.as_str()), (by_sdk.id(), by_sdk.ty()), "{name}");
        assert_eq!(
            (read.source.as_str(), read.subject.as_deref()),
            (by_sdk.source().as_str(), by_sdk.subject())
        );
        assert_eq!(read.time, by_sdk.time().map(|&time| time.into()), "{name}");
        let position = events.publish(&read).await.unwrap().position;
        let raw = client.topic("events").read(posthaste::Start::Position(position));
        let raw = &raw.up_to(1).await.unwrap()[0];
        let written = Message {
            id: raw.id().map(str::to_owned),
            key: raw.key().map(str::to_owned),
            headers: raw
                .headers()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: String::from_utf8(raw.bytes().to_vec()).unwrap(),
        };
        assert_eq!(written, message, "{name}");
        assert_eq!(next(&mut feed).await, read, "{name}");

        // What the SDK writes is read as the same event.
        let sdk_wrote = by_sdk.deserialize_binary(Message::default()).unwrap();
        publish(&client, &sdk_wrote).await;
        assert_eq!(next(&mut feed).await, read, "{name}");
    }
}

#[tokio::test]
async fn a_new_event_has_what_the_standard_asks_for() {
    let client = Client::builder().url("memory:").name("billing").connect().await.unwrap();
    let events = client.topic(EVENTS);
    events.declare().await.unwrap();
    let event = Event::full("order.created", json!({"id": 7}));
    let receipt = events.publish(&event).key("42").await.unwrap();
    assert_eq!(receipt.id.as_deref(), Some(&*event.id), "the event's id is the message's");
    let mut feed = events.group("test").consume().await.unwrap();
    let read = next(&mut feed).await;
    assert_eq!((read.source.as_str(), read.id.len()), ("/billing", 36));
    assert_eq!((read.time, &read.body), (event.time, &event.body));
    assert_eq!(read.extensions["partitionkey"], "42");
    // A message id of its own leaves the event its id.
    events.publish(&event).id("mine").await.unwrap();
    assert_eq!(next(&mut feed).await.id, event.id);
    // A time to live is the event's expiry.
    let ttl = std::time::Duration::from_secs(3_600);
    events.publish(&event).ttl(ttl).await.unwrap();
    assert!(next(&mut feed).await.extensions.contains_key("expirytime"));
}

#[tokio::test]
async fn raw_events_carry_data_of_any_kind() {
    const SCANS: TopicOf<Event<Bytes>> = TopicOf::with_codec("events", Codec::raw_event());
    let client = memory().await;
    let scans = client.topic(SCANS);
    let mut feed = scans.group("test").consume().await.unwrap();
    let mut scan = Event::full("scan.taken", Bytes::from_static(b"\xff\x00"));
    assert_eq!(scans.publish(&scan).await.unwrap_err().kind(), ErrorKind::Encode);
    scan.content_type = Some("image/png".to_owned());
    for body in [scan.body.clone(), Body::Full(Bytes::new())] {
        scan.body = body.clone();
        scans.publish(&scan).await.unwrap();
        let delivery = feed.next().await.unwrap().unwrap();
        assert_eq!(delivery.payload().body, body);
        delivery.ack().await.unwrap();
    }
}

#[tokio::test]
async fn messages_that_are_no_events_are_refused_with_the_reason() {
    let client = memory().await;
    let group = client.topic(EVENTS).group("test");
    let mut feed = group.consume().await.unwrap();
    let good = vectors().remove(2).message;
    let changed = |name: &str, value: Option<&str>| {
        let mut message = good.clone();
        message.headers.retain(|(one, _)| one != name);
        message.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        message
    };
    let no_id = Message { id: None, ..good.clone() };
    let with_body = |content_type: &str, body: &str| {
        let mut message = vectors().remove(0).message;
        message.headers.retain(|(one, _)| one != "content-type");
        message.headers.push(("content-type".to_owned(), content_type.to_owned()));
        Message { body: body.to_owned(), ..message }
    };
    let cases = [
        (changed("ce-specversion", None), "no header ce-specversion"),
        (changed("ce-specversion", Some("0.3")), "of version 0.3"),
        (changed("ce-type", None), "without type"),
        (changed("ce-source", Some("")), "without source"),
        (no_id, "without id"),
        (changed("ce-time", Some("yesterday")), "\"yesterday\" is not a time"),
        (changed("ce-datarefsize", Some("-1")), "datarefsize is not a number"),
        (changed("ce-datarefsha256", Some("abc")), "\"abc\" is not a digest"),
        (with_body("text/plain", "hello"), "text/plain"),
        (with_body("application/json", "{"), "EOF"),
        (with_body("application/cloudevents+json", "{}"), "structured mode"),
    ];
    let reasons: BTreeMap<u64, &str> = (0..).zip(cases.iter().map(|(_, reason)| *reason)).collect();
    for (message, _) in &cases {
        publish(&client, message).await;
    }
    publish(&client, &good).await;
    assert!(matches!(next(&mut feed).await.body, Body::Reference(_)), "the good one is the first");
    let letters = loop {
        let page = group.dead_letters().list(0, 100).await.unwrap();
        if page.total == cases.len() as u64 {
            break page.letters;
        }
        tokio::task::yield_now().await;
    };
    for letter in letters {
        let reason = reasons[&letter.position()];
        assert!(letter.reason().contains(reason), "{} is not {reason}", letter.reason());
    }
}

#[tokio::test]
async fn events_that_cannot_be_written_are_refused_before_they_are_sent() {
    let client = memory().await;
    let events = client.topic(EVENTS);
    let good = || Event::full("order.created", json!(7));
    let there = posthaste::Reference::new("x:y");
    let mut late = good();
    late.time = Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1 << 40));
    let cases = [
        (Event::full("", json!(7)), "needs its type"),
        (good().id(""), "needs its id"),
        (good().subject("a\nb"), "control characters"),
        (good().extension("Tenant", "x"), "\"Tenant\" is not the name"),
        (good().extension("subject", "x"), "\"subject\" is not the name"),
        (good().extension("", "x"), "\"\" is not the name"),
        (good().extension("expirytime", "soon"), "expirytime is not a time"),
        (Event::reference("a", there).extension("dataref", "x"), "dataref is the reference's"),
        (late, "outside of the years"),
    ];
    for (event, reason) in cases {
        let error = events.publish(&event).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Encode, "PH-0904"));
        assert!(error.message().contains(reason), "{error} is not {reason}");
    }
    let twice = events.publish(&good()).header("ce-type", "other").await.unwrap_err();
    assert!(twice.message().contains("ce-type is the event's to give"), "{twice}");
    assert_eq!(client.describe("events").await.unwrap().next_position, 0, "nothing was stored");
}
