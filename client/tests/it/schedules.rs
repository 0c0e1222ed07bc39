//! Recurring messages against the real broker, inside this process.

use std::time::{Duration, SystemTime};

use posthaste::{Bytes, Client, Declared, ErrorKind};

#[tokio::test]
async fn a_recurring_message_comes_again_and_again_until_it_is_canceled() {
    let client = Client::connect("memory:").await.unwrap();
    let jobs = client.queue("jobs");
    jobs.declare().await.unwrap();
    let tick = Bytes::from("tick");
    let publish = || jobs.publish(&tick).key("k").header("kind", "tick");
    let set = publish().recurring("tick", "@every 1s").await.unwrap();
    assert_eq!(set.declared, Declared::Created);
    let again = publish().recurring("tick", "@every 1s").await.unwrap();
    assert_eq!(again.declared, Declared::Unchanged);
    let mut consumer = jobs.consume().await.unwrap();
    for _ in 0..2 {
        let job = consumer.next().await.unwrap().unwrap();
        assert_eq!((&job.payload()[..], job.key()), (&b"tick"[..], Some("k")));
        assert_eq!(job.header("kind"), Some("tick"));
        job.ack().await.unwrap();
    }
    let listed = client.schedules().await.unwrap();
    assert_eq!(listed.len(), 1);
    let one = &listed[0];
    assert_eq!((&*one.name, &*one.to, &*one.when), ("tick", "jobs", "@every 1s"));
    assert_eq!((&*one.zone, one.waits_for.as_deref()), ("UTC", None));
    assert!(one.published >= 2 && one.last.is_some_and(|last| last < one.next));
    client.cancel_schedule("tick").await.unwrap();
    assert_eq!(client.schedules().await.unwrap(), []);
    let error = client.cancel_schedule("tick").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_time_of_the_clock_is_told_in_its_zone() {
    let client = Client::connect("memory:").await.unwrap();
    let news = client.topic("news");
    news.declare().await.unwrap();
    let body = Bytes::from("good morning");
    let mut next = Vec::new();
    for zone in ["UTC", "Asia/Kolkata"] {
        let set = news.publish(&body).recurring("morning", "0 7 * * *").zone(zone).await.unwrap();
        let since = set.next.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        next.push(since.as_secs() % 86_400);
        assert!(set.next > SystemTime::now());
        assert!(set.next < SystemTime::now() + Duration::from_secs(86_400));
    }
    assert_eq!(next, [7 * 3_600, 3_600 + 1_800], "seven in India is half past one");
}

#[tokio::test]
async fn what_cannot_recur_is_refused_before_anything_is_stored() {
    let client = Client::connect("memory:").await.unwrap();
    let jobs = client.queue("jobs");
    let body = Bytes::from("x");
    let missing = jobs.publish(&body).recurring("s", "@daily").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    jobs.declare().await.unwrap();
    let delay = Duration::from_secs(1);
    for (publish, when, zone, words) in [
        (jobs.publish(&body), "0 25 * * *", "UTC", "an hour lies within 0 and 23, at byte 2"),
        (jobs.publish(&body), "@daily", "Mars/Base", "there is no time zone"),
        (jobs.publish(&body).id("7"), "@daily", "UTC", "no id and no time of its own"),
        (jobs.publish(&body).delay(delay), "@daily", "UTC", "no id and no time of its own"),
        (jobs.publish(&body).ttl(delay), "@daily", "UTC", "no id and no time of its own"),
    ] {
        let error = publish.recurring("s", when).zone(zone).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let large = Bytes::from(vec![0; 65 << 10]);
    let error = jobs.publish(&large).recurring("s", "@daily").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(client.schedules().await.unwrap(), []);
}
