//! Connecting: what is tried, and what is told when it fails.

use std::time::Duration;

use posthaste::{Client, ConnState, ErrorKind};
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::{PREFACE, Request};

use crate::fake::{connected, fake, welcome};

#[tokio::test(start_paused = true)]
async fn a_client_introduces_itself() {
    let (mut fake, builder) = fake();
    let connecting = tokio::spawn(builder.connect());
    let mut peer = fake.accept_raw().await;
    let mut preface = [0; 8];
    tokio::io::AsyncReadExt::read_exact(peer.stream(), &mut preface).await.unwrap();
    assert_eq!(preface, PREFACE);
    let said = peer.next().await;
    let Request::Hello(hello) = said.request else { panic!("{said:?}") };
    assert!(hello.client.starts_with("test posthaste-rust/"), "{}", hello.client);
    peer.say_raw(&PREFACE).await;
    peer.say(0, said.id, posthaste_protocol::Response::Welcome(welcome())).await;
    let client = connecting.await.unwrap().unwrap();
    assert_eq!(client.state(), ConnState::Ready);
    let broker = client.broker().await.unwrap();
    assert_eq!((broker.server.as_str(), broker.store), ("fake/1", [7; 16]));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_broker_is_told_apart() {
    for (answer, code) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], "PH-0101"),
        (&[b'P', b'H', b'S', b'T', 0x0d, 0x0a, 0x1a, 9][..], "PH-0104"),
        (&b""[..], "PH-0901"),
    ] {
        let (mut fake, builder) = fake();
        let connecting = tokio::spawn(builder.connect());
        let mut peer = fake.accept_raw().await;
        peer.say_raw(answer).await;
        drop(peer);
        let error = connecting.await.unwrap().unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_the_handshake_is_told() {
    let (mut fake, builder) = fake();
    let connecting = tokio::spawn(builder.connect());
    let mut peer = fake.accept_raw().await;
    peer.say_raw(&PREFACE).await;
    peer.refuse(0, ErrorCode::TooManyConnections, &[]).await;
    let error = connecting.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("PH-0107", true));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_says_nothing_is_given_up() {
    let (mut fake, builder) = fake();
    let connecting = tokio::spawn(builder.connect_timeout(Duration::from_secs(2)).connect());
    let _peer = fake.accept_raw().await;
    let error = connecting.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Disconnected, "PH-0907"));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_lost_at_once_does_not_hang_the_one_who_connects() {
    let (mut fake, builder) = fake();
    let connecting = tokio::spawn(builder.connect());
    let mut peer = fake.accept_raw().await;
    let mut preface = [0; 8];
    tokio::io::AsyncReadExt::read_exact(peer.stream(), &mut preface).await.unwrap();
    let said = peer.next().await;
    peer.say_raw(&PREFACE).await;
    peer.say(0, said.id, posthaste_protocol::Response::Welcome(welcome())).await;
    // The broker is gone before anybody has looked, and does not come back.
    drop(peer);
    let connected = tokio::time::timeout(Duration::from_secs(3_600), connecting).await;
    let client = connected.expect("it does not hang").unwrap().unwrap();
    let error = client.queue("orders").publish(&bytes::Bytes::from_static(b"x")).await.unwrap_err();
    assert!(error.to_string().contains("not"), "{error}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_with_the_next_step() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Client::connect(format!("posthaste://{address}")).await.unwrap_err();
    assert_eq!(error.code(), "PH-0907");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(error.help().unwrap().contains("posthaste serve"));
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_lazy_client_waits_for_its_broker() {
    let (mut fake, builder) = fake();
    let client = builder.connect_lazy().unwrap();
    assert_eq!(client.state(), ConnState::Connecting);
    drop(fake.accept_raw().await);
    let ready = tokio::spawn({
        let client = client.clone();
        async move { client.ready().await }
    });
    let _peer = fake.accept().await;
    ready.await.unwrap().unwrap();
    assert_eq!(client.state(), ConnState::Ready);
}

#[tokio::test]
async fn urls_that_cannot_be_read_are_told() {
    for url in ["", "nonsense", "amqp://localhost", "posthaste://host:port"] {
        let error = Client::connect(url).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "PH-0906"), "{url}");
    }
}

#[test]
fn a_client_outside_of_a_runtime_is_an_error_not_a_panic() {
    let error = Client::builder().connect_lazy().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn errors_of_all_operations_become_one() {
    let (_fake, _peer, client) = connected().await;
    async fn all(client: &Client) -> Result<(), posthaste::Error> {
        client.queue("").declare().await?;
        Ok(())
    }
    let error = all(&client).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("PH-0202", ErrorKind::Invalid));
}

#[tokio::test]
async fn of_several_hosts_one_that_answers_is_enough() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let somebody = listener.local_addr().unwrap();
    let url = format!("posthaste://{nobody},{somebody}");
    let connecting = tokio::spawn(async move { Client::connect(url).await });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut hello = vec![0; 64];
    tokio::io::AsyncReadExt::read(&mut stream, &mut hello).await.unwrap();
    let mut answer = bytes::BytesMut::from(&PREFACE[..]);
    posthaste_protocol::Response::Welcome(welcome()).encode(0, 0, &mut answer);
    tokio::io::AsyncWriteExt::write_all(&mut stream, &answer).await.unwrap();
    connecting.await.unwrap().unwrap();
}
