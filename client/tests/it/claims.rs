//! Claim checks: what an event refers to is loaded within bounds, and only if it is what was meant.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use posthaste::{
    Body, BoxFuture, Bytes, Client, ErrorKind, Event, Fetch, FolderStore, HttpResolver, LoadError,
    Loading, Reference, Resolve, Store, TopicOf,
};

/// The digest of `abc`, from the standard.
const ABC: [u8; 32] = [
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
];

/// A folder of this test alone, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("posthaste-claims-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn store(&self) -> FolderStore {
        FolderStore::new(&self.0)
    }

    fn files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(&self.0).into_iter().flatten();
        files.map(|file| file.expect("a file").path()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that kept nothing has no folder.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[tokio::test]
async fn what_a_folder_keeps_is_found_again_under_its_digest() {
    let folder = Folder::new();
    let store = folder.store();
    let reference = store.put(Bytes::from("abc")).await.unwrap();
    assert_eq!(store.put(Bytes::from("abc")).await.unwrap(), reference, "twice is once");
    assert_eq!((reference.byte_size(), reference.digest()), (Some(3), Some(ABC)));
    assert_eq!(folder.files().len(), 1, "no other file is left");
    assert_eq!(reference.load(&store).await.unwrap(), "abc");
    let empty = store.put(Bytes::new()).await.unwrap();
    assert_eq!(empty.load(&store).await.unwrap(), "");
    assert!(store.remove(&reference).await.unwrap());
    assert!(!store.remove(&reference).await.unwrap());
    let gone = reference.load(&store).await.unwrap_err();
    assert_eq!((gone.kind(), gone.code()), (ErrorKind::NotFound, "PH-0910"));
}

#[tokio::test]
async fn a_size_or_digest_that_does_not_match_is_refused_by_name() {
    let folder = Folder::new();
    let store = folder.store();
    let reference = store.put(Bytes::from("abc")).await.unwrap();
    let file = folder.files().remove(0);
    for (content, code) in [("abd", "PH-0909"), ("ab", "PH-0908"), ("abcd", "PH-0908")] {
        std::fs::write(&file, content).unwrap();
        let error = reference.load(&store).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Mismatch, code), "{content}");
        assert!(!error.is_retryable() && error.help().is_some());
    }
    let event: Event<u64> = Event::reference("counted", reference);
    assert_eq!(event.load(&store).await.unwrap_err().code(), "PH-0908");
    let number = store.put(Bytes::from("seven")).await.unwrap();
    let event: Event<u64> = Event::reference("counted", number);
    assert_eq!(event.load(&store).await.unwrap_err().kind(), ErrorKind::Decode);
}

#[tokio::test]
async fn a_folder_gives_out_nothing_but_its_own_objects() {
    let folder = Folder::new();
    let store = folder.store();
    store.put(Bytes::from("abc")).await.unwrap();
    for url in ["folder:../../etc/passwd", "folder:", "file:///etc/passwd", "folder:ABC", ""] {
        let error = Reference::new(url).load(&store).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "PH-0912"), "{url}");
    }
    let notice: Event<u64> = Event::notice("changed");
    assert_eq!(notice.load(&store).await.unwrap_err().code(), "PH-0912");
}

/// Gives bytes for as long as anybody takes them.
#[derive(Default)]
struct Endless(AtomicU64);

impl Resolve for Endless {
    fn fetch<'a>(
        &'a self,
        _what: Fetch<'a>,
        mut body: Loading,
    ) -> BoxFuture<'a, Result<Loading, LoadError>> {
        Box::pin(async move {
            loop {
                self.0.fetch_add(1_000, Ordering::Relaxed);
                body.push(&[7; 1_000])?;
            }
        })
    }
}

#[tokio::test]
async fn no_load_takes_more_memory_than_its_limit() {
    let endless = Endless::default();
    let error = Reference::new("x").load(&endless).up_to(10_000).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::TooLarge, "PH-0913"));
    assert_eq!(endless.0.swap(0, Ordering::Relaxed), 11_000, "it stops with the piece above it");
    let error = Reference::new("x").size(2_500).load(&endless).await.unwrap_err();
    assert_eq!((error.code(), endless.0.swap(0, Ordering::Relaxed)), ("PH-0908", 3_000));
    let error = Reference::new("x").size(u64::MAX).load(&endless).await.unwrap_err();
    assert_eq!((error.code(), endless.0.swap(0, Ordering::Relaxed)), ("PH-0913", 0), "not asked");
    let error = Reference::new("x").load(&endless).await.unwrap_err();
    assert_eq!(error.code(), "PH-0913");
    assert!(endless.0.load(Ordering::Relaxed) <= (64 << 20) + 1_000);
}

#[tokio::test]
async fn a_producer_puts_large_data_into_its_store_and_small_data_into_the_event() {
    const TEXTS: TopicOf<Event<String>> = TopicOf::new("texts");
    let folder = Folder::new();
    let store = folder.store();
    let client = Client::connect("memory:").await.unwrap();
    let texts = client.topic(TEXTS);
    texts.declare().await.unwrap();
    let producer = texts.producer().offload(12, store.clone()).build();
    // With its quotes, the second is one byte above the limit.
    let small = Event::full("text", "0123456789".to_owned()).subject("small");
    let large = Event::full("text", "0123456789a".to_owned()).subject("large").extension("x", "y");
    for event in [&small, &large, &Event::notice("text")] {
        let _confirm = producer.send(event).await.unwrap();
    }
    assert_eq!(producer.flush().await.unwrap().confirmed, 3);
    let mut feed = texts.group("test").consume().await.unwrap();
    for expected in [&small, &large] {
        let delivery = feed.next().await.unwrap().unwrap();
        let event = delivery.payload();
        assert_eq!((&event.id, &event.subject), (&expected.id, &expected.subject));
        assert_eq!(event.extensions, expected.extensions);
        let Body::Full(text) = &expected.body else { panic!("it was full") };
        assert_eq!(event.load(&store).await.unwrap(), *text);
        match &event.body {
            Body::Reference(there) => {
                assert_eq!(
                    (expected.subject.as_deref(), there.byte_size()),
                    (Some("large"), Some(13))
                );
                assert_eq!(event.content_type.as_deref(), Some("application/json"));
                assert!(delivery.bytes().is_empty());
            }
            body => {
                assert_eq!((expected.subject.as_deref(), body), (Some("small"), &expected.body));
            }
        }
        delivery.ack().await.unwrap();
    }
    assert_eq!(folder.files().len(), 1);
}

#[tokio::test]
async fn an_event_whose_data_cannot_be_kept_is_not_published() {
    const TEXTS: TopicOf<Event<String>> = TopicOf::new("texts");
    let folder = Folder::new();
    std::fs::write(&folder.0, "not a folder").unwrap();
    let client = Client::connect("memory:").await.unwrap();
    let texts = client.topic(TEXTS);
    texts.declare().await.unwrap();
    let producer = texts.producer().offload(0, folder.store()).build();
    let error = producer.send(&Event::full("text", "x".to_owned())).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unreachable, "PH-0911"));
    assert!(error.is_retryable());
    assert_eq!(client.describe("texts").await.unwrap().next_position, 0);
    std::fs::remove_file(&folder.0).unwrap();
}

/// Serves one answer to each path, over and over, on a port of its own.
fn serve(answers: &'static [(&'static str, &'static str)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Some(path) = path(&mut stream) else { continue };
            let found = answers.iter().find(|(one, _)| *one == path);
            let answer =
                found.map_or("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", |one| one.1);
            // The client may have hung up, which is what some tests are about.
            drop(stream.write_all(answer.as_bytes()));
            if path == "/slow" {
                // Nothing more comes until the client goes away.
                drop(stream.read(&mut [0; 64]));
            }
        }
    });
    format!("http://{address}")
}

/// The path of the request that comes in.
fn path(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut byte = [0; 1];
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).ok()?;
    Some(request.split(' ').nth(1)?.to_owned())
}

#[tokio::test]
async fn references_are_loaded_over_http_from_allowed_places_within_bounds() {
    let base = serve(&[
        ("/abc", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
        (
            "/chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
        ),
        ("/broken", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na"),
        ("/huge", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nabc"),
        ("/endless", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcdefghijklmnop"),
        ("/error", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
        ("/moved", "HTTP/1.1 302 Found\r\nLocation: /abc\r\nContent-Length: 0\r\n\r\n"),
        ("/nonsense", "what?\r\n\r\n"),
        ("/slow", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na"),
        ("/orders/7", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n42"),
    ]);
    let files = HttpResolver::allowing([&*base]);
    let at = |path: &str| Reference::new(format!("{base}{path}"));
    for good in [at("/abc").size(3).sha256(ABC), at("/chunked").size(3).sha256(ABC), at("/abc")] {
        assert_eq!(good.load(&files).up_to(3).await.unwrap(), "abc");
    }
    for (reference, kind, code) in [
        (at("/abc").sha256([7; 32]), ErrorKind::Mismatch, "PH-0909"),
        (at("/abc").size(4), ErrorKind::Mismatch, "PH-0908"),
        (at("/abc").size(2), ErrorKind::Mismatch, "PH-0908"),
        (at("/huge"), ErrorKind::TooLarge, "PH-0913"),
        (at("/endless"), ErrorKind::TooLarge, "PH-0913"),
        (at("/missing"), ErrorKind::NotFound, "PH-0910"),
        (at("/broken"), ErrorKind::Unreachable, "PH-0911"),
        (at("/error"), ErrorKind::Unreachable, "PH-0911"),
        (at("/moved"), ErrorKind::Unreachable, "PH-0911"),
        (at("/nonsense"), ErrorKind::Unreachable, "PH-0911"),
        (Reference::new("http://127.0.0.1:9/abc"), ErrorKind::Invalid, "PH-0912"),
    ] {
        let error = reference.load(&files).up_to(10).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, code), "{} {error}", reference.url());
    }
    let impatient = files.clone().timeout(Duration::from_millis(50));
    assert_eq!(at("/slow").load(&impatient).await.unwrap_err().code(), "PH-0911");
    let shop = HttpResolver::new().current_at(format!("{base}/orders"));
    let changed: Event<u64> = Event::notice("order.changed").source("/shop").subject("7");
    assert_eq!(changed.load(&shop).await.unwrap(), 42);
}
