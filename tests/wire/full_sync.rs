//! Full resyncs of several replicas: they gather and share one snapshot, from memory or from a file, and a slow or a dead one
//! harms nobody.

use crate::harness::{Client, Server, becomes, eventually, fill};
use crate::replication::{Make, become_equal, replica_of, wait_until_linked};

fn all_become_equal(writer: &mut Client, replicas: &[Server]) {
    for replica in replicas {
        let mut reader = replica.client();
        wait_until_linked(&mut reader);
        become_equal(writer, &mut reader);
    }
}

#[test]
fn replicas_that_come_within_the_delay_share_one_snapshot() {
    let master =
        Server::russet(&["--repl-diskless-sync-delay", "60", "--repl-diskless-sync-max-replicas", "3"]);
    let mut writer = master.client();
    fill(&mut writer, 2000);
    let replicas = [Make::Russet, Make::Redis, Make::Russet].map(|make| replica_of(make, master.port));
    all_become_equal(&mut writer, &replicas);
    assert_eq!(writer.info("sync_full"), "3");
    assert_eq!(master.log().matches("Starting BGSAVE for SYNC with target: 3 replicas sockets").count(), 1);
    assert!(!master.dump().exists());
}

#[test]
fn replicas_that_come_while_one_is_fed_share_the_next_snapshot() {
    let master = Server::russet(&["--rdb-key-save-delay", "150"]);
    let mut writer = master.client();
    fill(&mut writer, 2000);
    let replicas = [(); 3].map(|()| Server::russet(&[]));
    let follow = |replica: &Server| replica.client().call(&format!("REPLICAOF 127.0.0.1 {}", master.port));
    follow(&replicas[0]);
    becomes("the first is fed", &"1".to_owned(), || writer.info("rdb_bgsave_in_progress"));
    follow(&replicas[1]);
    follow(&replicas[2]);
    all_become_equal(&mut writer, &replicas);
    let log = master.log();
    let frozen_for = |count| log.matches(&format!("SYNC with target: {count} replicas sockets")).count();
    assert_eq!((frozen_for(1), frozen_for(2)), (1, 1), "{log}");
    // A replica that has just started has no history to go on from.
    assert_eq!((writer.info("sync_full"), writer.info("sync_partial_err")), ("3".into(), "3".into()));
    let fresh = Server::russet(&["--replicaof", &format!("127.0.0.1 {}", master.port)]);
    wait_until_linked(&mut fresh.client());
    assert_eq!((writer.info("sync_full"), writer.info("sync_partial_err")), ("4".into(), "3".into()));
}

#[test]
fn a_full_resync_is_counted_on_both_sides() {
    let master = Server::russet(&[]);
    let mut writer = master.client();
    fill(&mut writer, 100);
    let replica = Server::russet(&[]);
    let mut reader = replica.client();
    fill(&mut reader, 40);
    let own = reader.integer("DBSIZE");
    reader.call(&format!("REPLICAOF 127.0.0.1 {}", master.port));
    wait_until_linked(&mut reader);
    let in_databases = |client: &mut Client| -> i64 {
        let text = client.text("INFO keyspace");
        let counts = text
            .lines()
            .filter_map(|line| line.split_once("keys=")?.1.split(',').next()?.parse::<i64>().ok());
        counts.sum()
    };
    assert!(own > 0);
    assert_eq!(reader.info("rdb_last_load_keys_loaded"), in_databases(&mut writer).to_string());
    eventually("what it had is freed", || reader.info("lazyfreed_objects").parse::<i64>().unwrap() >= own);

    // What a replica has yet to read shows in its line.
    let omem = |writer: &mut Client| -> u64 {
        let line = writer.text("CLIENT LIST TYPE replica");
        let field = line.split(' ').find_map(|field| field.strip_prefix("omem=")).map(str::to_owned);
        field.unwrap_or_else(|| panic!("no replica in {line}")).parse().unwrap()
    };
    assert!(omem(&mut writer) < 1 << 20);
    replica.stop();
    for _ in 0..32 {
        writer.call_args(&["SET", "large", &"x".repeat(1 << 20)]);
    }
    assert!(omem(&mut writer) > 8 << 20);
    replica.signal("CONT");
    eventually("it reads on", || omem(&mut writer) < 1 << 20);
}

#[test]
fn a_delay_is_waited_for_and_a_shorter_one_applies_at_once() {
    let master = Server::russet(&["--repl-diskless-sync-delay", "3600"]);
    let replica = replica_of(Make::Russet, master.port);
    let mut writer = master.client();
    becomes("the replica waits", &true, || writer.info("slave0").contains("state=wait_bgsave"));
    assert_eq!(replica.client().info("master_link_status"), "down");
    writer.call("CONFIG SET repl-diskless-sync-delay 0");
    wait_until_linked(&mut replica.client());
}

#[test]
fn without_diskless_sync_a_file_is_written_once_and_sent_to_all() {
    let master = Server::russet(&["--repl-diskless-sync", "no", "--rdb-key-save-delay", "200"]);
    let mut writer = master.client();
    fill(&mut writer, 3000);
    let first = replica_of(Make::Russet, master.port);
    becomes("the file is being written", &"1".to_owned(), || writer.info("rdb_bgsave_in_progress"));
    let second = replica_of(Make::Redis, master.port);
    for i in 0..200 {
        writer.call(&format!("SET meanwhile:{i} x"));
    }
    all_become_equal(&mut writer, &[first, second]);
    assert!(master.dump().exists());
    assert_eq!((writer.info("sync_full"), writer.info("rdb_saves")), ("2".into(), "1".into()));
}

#[test]
fn a_file_that_was_for_replicas_alone_is_removed_when_asked_for() {
    let master = Server::russet(&["--repl-diskless-sync", "no", "--rdb-del-sync-files", "yes"]);
    fill(&mut master.client(), 300);
    all_become_equal(&mut master.client(), &[replica_of(Make::Russet, master.port)]);
    assert!(!master.dump().exists());
}

#[test]
fn a_stopped_replica_does_not_hold_up_the_one_beside_it_and_its_memory_is_bounded() {
    let master = Server::russet(&[
        "--repl-diskless-sync-delay",
        "60",
        "--repl-diskless-sync-max-replicas",
        "2",
        "--rdbcompression",
        "no",
        "--client-output-buffer-limit",
        "replica 4mb 0 0",
        "--repl-backlog-size",
        "1mb",
    ]);
    let mut writer = master.client();
    // More than sockets and pieces under way take.
    for i in 0..48 {
        writer.call_args(&["SET", &format!("big:{i}"), &"x".repeat(1 << 20)]);
    }
    let stopped = Server::russet(&[]);
    let quick = Server::russet(&[]);
    stopped.client().call(&format!("REPLICAOF 127.0.0.1 {}", master.port));
    becomes("it waits", &true, || writer.info("slave0").contains("wait_bgsave"));
    stopped.stop();
    quick.client().call(&format!("REPLICAOF 127.0.0.1 {}", master.port));
    wait_until_linked(&mut quick.client());
    become_equal(&mut writer, &mut quick.client());
    assert_eq!(writer.info("connected_slaves"), "2");

    // The stream that the stopped one lacks grows to its limit, then it is sent away.
    let before: u64 = writer.info("used_memory").parse().unwrap();
    let mut most = 0;
    for i in 0..64 {
        writer.call_args(&["SET", &format!("big:{}", i % 48), &"y".repeat(1 << 20)]);
        assert_eq!(writer.integer("WAIT 1 20000"), 1);
        most = most.max(writer.info("mem_total_replication_buffers").parse::<u64>().unwrap());
    }
    assert!(most <= 8 << 20, "{most} bytes of the stream were kept");
    becomes("replicas", &"1".to_owned(), || writer.info("connected_slaves"));
    let after = || -> u64 { master.client().info("used_memory").parse().unwrap() };
    eventually("what was kept for it is freed", || after() < before + (16 << 20));
    stopped.signal("CONT");
    becomes("it gathers again", &true, || writer.info("slave1").contains("wait_bgsave"));
    writer.call("CONFIG SET repl-diskless-sync-delay 0");
    all_become_equal(&mut writer, &[stopped, quick]);
}

#[test]
fn with_flush_before_load_old_data_make_room_first() {
    let master = Server::russet(&["--rdb-key-save-delay", "500"]);
    fill(&mut master.client(), 2000);
    let replica = Server::russet(&["--repl-diskless-load", "flush-before-load"]);
    let mut reader = replica.client();
    reader.call("SET own x");
    reader.call(&format!("REPLICAOF 127.0.0.1 {}", master.port));
    eventually("it is loading", || reader.call("EXISTS own").is_error());
    assert_eq!((reader.info("loading"), reader.info("async_loading")), ("1".into(), "0".into()));
    wait_until_linked(&mut reader);
    become_equal(&mut master.client(), &mut reader);
    assert_eq!(reader.integer("EXISTS own"), 0);
}

#[test]
fn with_flush_before_load_memory_never_holds_both_data_sets() {
    const BYTES: u64 = 64 << 20;
    let fill_with = |server: &Server, text: &str| {
        let mut client = server.client();
        for i in 0..BYTES >> 20 {
            client.call_args(&["SET", &format!("big:{i}"), &text.repeat(1 << 20)]);
        }
    };
    let master = Server::russet(&["--rdbcompression", "no"]);
    fill_with(&master, "m");
    let peak_with = |load: &str| {
        let replica = Server::russet(&["--repl-diskless-load", load]);
        fill_with(&replica, "r");
        let mut reader = replica.client();
        reader.call("CONFIG RESETSTAT");
        reader.call(&format!("REPLICAOF 127.0.0.1 {}", master.port));
        wait_until_linked(&mut reader);
        become_equal(&mut master.client(), &mut reader);
        reader.info("used_memory_peak").parse::<u64>().unwrap()
    };
    let (both, one) = (peak_with("swapdb"), peak_with("flush-before-load"));
    assert!(both > BYTES * 2, "{both} bytes at most with swapdb: the measure is wrong");
    assert!(one < BYTES * 5 / 4, "{one} bytes at most with flush-before-load, of a data set of {BYTES}");
}
