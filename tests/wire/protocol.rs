//! Requests in whatever pieces and numbers they arrive.

use std::io::Write as _;

use russet::resp::reply::write_request;
use russet::resp::value::Value;

use crate::harness::{Server, bulk, ok};

#[test]
fn requests_may_be_split_at_any_byte() {
    let server = Server::russet(&[]);
    let mut requests = Vec::new();
    write_request(&mut requests, ["SET", "key", "a value\r\nof two lines"].iter());
    requests.extend_from_slice(b"GET key\r\n");
    write_request(&mut requests, ["STRLEN", "key"].iter());
    let mut client = server.client();
    for split in 1..requests.len() {
        let (first, second) = requests.split_at(split);
        client.send_raw(first);
        if split % 5 == 0 {
            // Another client's round trip makes sure that the first piece has been read alone.
            server.client().call("PING");
        }
        client.send_raw(second);
        assert_eq!(client.read(), ok(), "split at {split}");
        assert_eq!(client.read(), bulk("a value\r\nof two lines"), "split at {split}");
        assert_eq!(client.read(), Value::Integer(21), "split at {split}");
    }
}

#[test]
fn a_hundred_thousand_pipelined_requests_are_answered_in_order() {
    const REQUESTS: i64 = 100_000;
    let server = Server::russet(&[]);
    let mut client = server.client();
    let mut sender = client.sender();
    let requests = b"INCR counter\r\n".repeat(REQUESTS as usize);
    std::thread::scope(|scope| {
        scope.spawn(move || sender.write_all(&requests).unwrap());
        for n in 1..=REQUESTS {
            assert_eq!(client.read(), Value::Integer(n));
        }
    });
}

/// As clients do that write everything before they read anything.
#[test]
fn replies_wait_for_a_client_that_reads_late() {
    let server = Server::russet(&[]);
    let mut client = server.client();
    let value = "x".repeat(10_000);
    client.call_args(&["SET", "key", &value]);
    client.send_raw(&b"GET key\r\n".repeat(2000));
    for _ in 0..2000 {
        assert_eq!(client.read(), bulk(&value));
    }
}

#[test]
fn a_value_of_64_megabytes_goes_in_and_out() {
    let server = Server::russet(&[]);
    let mut client = server.client();
    let value: Vec<u8> = (0..64usize << 20).map(|i| (i % 251) as u8).collect();
    assert_eq!(client.call_args(&[&b"SET"[..], b"large", &value]), ok());
    assert_eq!(client.integer("STRLEN large"), 64 << 20);
    assert!(client.call("GET large") == bulk(&value), "what comes back is what went in");
}

#[test]
fn a_request_of_a_hundred_thousand_arguments_is_taken() {
    let server = Server::russet(&[]);
    let mut client = server.client();
    let mut args = vec!["RPUSH".to_owned(), "list".to_owned()];
    args.extend((0..100_000).map(|i| i.to_string()));
    assert_eq!(client.call_args(&args), Value::Integer(100_000));
    assert_eq!(client.call("LINDEX list -1"), bulk("99999"));
}

#[test]
fn resp3_is_spoken_after_hello() {
    let server = Server::russet(&[]);
    let mut client = server.client();
    assert_eq!(client.call("GET none"), Value::NullBulk);
    assert!(matches!(client.call("HELLO 3"), Value::Map(_)));
    assert_eq!(client.call("GET none"), Value::Null);
    client.call("HSET hash field value");
    assert_eq!(client.call("HGETALL hash"), Value::Map(vec![(bulk("field"), bulk("value"))]));
}

#[test]
fn a_blocked_client_is_served_by_another_connection() {
    let server = Server::russet(&[]);
    let (mut waiting, mut pushing) = (server.client(), server.client());
    waiting.send_raw(b"BLPOP queue 0\r\nPING\r\n");
    crate::harness::becomes("blocked clients", &"1".to_owned(), || pushing.info("blocked_clients"));
    assert_eq!(pushing.call("RPUSH queue element"), Value::Integer(1));
    assert_eq!(waiting.read(), Value::Array(vec![bulk("queue"), bulk("element")]));
    assert_eq!(waiting.read(), Value::Simple(b"PONG".to_vec()));
}
