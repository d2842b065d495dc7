//! FAILOVER: the master and one of its replicas change places, and nothing is lost or sent twice.

use std::time::{Duration, Instant};

use crate::harness::{Server, becomes, bulk, fill, ok};
use crate::replication::{Make, become_equal, replica_of, wait_until_linked};
use russet::resp::value::Value;

/// The master hands over to its only replica while a client writes; the write waits, and learns where it belongs.
fn hands_over(of_master: Make, of_replica: Make) {
    let master = crate::replication::start(of_master, &[]);
    let mut writer = master.client();
    fill(&mut writer, 300);
    let replica = replica_of(of_replica, master.port);
    let mut reader = replica.client();
    wait_until_linked(&mut reader);
    becomes("online", &true, || writer.info("slave0").contains("state=online"));
    writer.call("SET last 1");
    assert_eq!(writer.call(&format!("FAILOVER TO 127.0.0.1 {}", replica.port)), ok());
    let began = Instant::now();
    // It waits while this server still is the master; when it has given that up, it is refused at once.
    assert!(writer.text("SET late 1").starts_with("READONLY"));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(writer.info("role"), "slave");
    becomes("the new master", &"master".to_owned(), || reader.info("role"));
    becomes("the failover's end", &"no-failover".to_owned(), || writer.info("master_failover_state"));
    wait_until_linked(&mut writer);
    reader.call("SET new 1");
    become_equal(&mut reader, &mut writer);
    assert_eq!(writer.call("GET last"), bulk("1"));
    assert_eq!((reader.info("sync_full"), reader.info("sync_partial_ok")), ("0".into(), "1".into()));
}

#[test]
fn russet_hands_over_to_russet() {
    hands_over(Make::Russet, Make::Russet);
}

#[test]
fn russet_hands_over_to_redis() {
    hands_over(Make::Russet, Make::Redis);
}

#[test]
fn redis_hands_over_to_russet() {
    hands_over(Make::Redis, Make::Russet);
}

#[test]
fn a_failover_that_cannot_be_is_refused_in_the_words_of_redis() {
    let (ours, theirs) = (Server::russet(&[]), Server::redis(&[]));
    let mut replies = Vec::new();
    for server in [&ours, &theirs] {
        let mut client = server.client();
        let mut texts = Vec::new();
        let mut ask = |line: &str| texts.push(client.text(line));
        for line in [
            "FAILOVER",
            "FAILOVER ABORT",
            "FAILOVER TO localhost",
            "FAILOVER TO a b",
            "FAILOVER TIMEOUT 0",
            "FAILOVER TIMEOUT x",
            "FAILOVER TIMEOUT 1 TIMEOUT 2",
            "FAILOVER FORCE FORCE",
            "FAILOVER ABORT ABORT",
            "FAILOVER FORCE",
            "FAILOVER TO 127.0.0.1 1 FORCE",
            "FAILOVER x",
            "PSYNC ? -1 FAILOVER",
        ] {
            ask(line);
        }
        let replica = replica_of(Make::Russet, server.port);
        wait_until_linked(&mut replica.client());
        becomes("online", &true, || server.client().info("slave0").contains("state=online"));
        for line in [
            "FAILOVER TO 127.0.0.1 1",
            "FAILOVER TO 127.0.0.1 -1",
            "FAILOVER FORCE",
            "FAILOVER TIMEOUT 5 FORCE",
            "FAILOVER TO 127.0.0.2 1 TIMEOUT 5 FORCE",
        ] {
            ask(line);
        }
        let mut reader = replica.client();
        texts.push(reader.text("FAILOVER"));
        texts.push(reader.text("PSYNC 0123456789012345678901234567890123456789 1 FAILOVER"));
        replies.push(texts);
    }
    assert_eq!(replies[0], replies[1]);
}

#[test]
fn a_failover_ends_at_its_time_or_by_force_or_when_it_is_aborted() {
    let master = Server::russet(&[]);
    let (mut writer, mut admin) = (master.client(), master.client());
    let replica = replica_of(Make::Russet, master.port);
    wait_until_linked(&mut replica.client());
    becomes("online", &true, || admin.info("slave0").contains("state=online"));

    replica.stop();
    writer.call("SET unread 1");
    assert_eq!(admin.call("FAILOVER TIMEOUT 60000"), ok());
    assert_eq!(admin.info("master_failover_state"), "waiting-for-sync");
    assert_eq!(admin.text("FAILOVER"), "ERR FAILOVER already in progress.");
    assert_eq!(admin.text("REPLICAOF NO ONE"), "ERR REPLICAOF not allowed while failing over.");
    writer.send_raw(b"SET paused 1\r\n");
    assert_eq!(admin.call("GET unread"), bulk("1"));
    assert_eq!(admin.integer("EXISTS paused"), 0);
    assert_eq!(admin.call("FAILOVER ABORT"), ok());
    assert_eq!(writer.read(), ok());

    assert_eq!(admin.call("FAILOVER TIMEOUT 100"), ok());
    becomes("the failover's end", &"no-failover".to_owned(), || admin.info("master_failover_state"));
    assert_eq!(admin.info("role"), "master");

    let to = format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 100 FORCE", replica.port);
    assert_eq!(admin.call(&to), ok());
    becomes("no way back", &"failover-in-progress".to_owned(), || admin.info("master_failover_state"));
    assert_eq!(admin.info("role"), "slave");
    replica.signal("CONT");
    becomes("the failover's end", &"no-failover".to_owned(), || admin.info("master_failover_state"));
    let mut reader = replica.client();
    assert_eq!(reader.info("role"), "master");
    wait_until_linked(&mut admin);
    become_equal(&mut reader, &mut admin);
    assert_eq!(reader.call("WAIT 1 20000"), Value::Integer(1));
}
