//! Masters and replicas, Russet's and Redis' in both roles: full and partial resync, WAIT, restarts, changes of role.

use std::time::{Duration, Instant};

use russet::resp::value::Value;

use crate::harness::{Client, Proxy, Server, becomes, bulk, digest, eventually, fill, ok};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Make {
    Russet,
    Redis,
}

pub fn start(make: Make, args: &[&str]) -> Server {
    match make {
        Make::Russet => Server::russet(args),
        Make::Redis => Server::redis(args),
    }
}

/// A replica of whatever listens on `port`.
pub fn replica_of(make: Make, port: u16) -> Server {
    // An idle link is found dead in 10 s, and `repl-ping-replica-period` is a second as in Redis' own tests.
    let server = start(make, &["--repl-ping-replica-period", "1", "--repl-diskless-load", "disabled"]);
    assert_eq!(server.client().call(&format!("REPLICAOF 127.0.0.1 {port}")), ok());
    server
}

#[track_caller]
pub fn wait_until_linked(replica: &mut Client) {
    becomes("master_link_status", &"up".to_owned(), || replica.info("master_link_status"));
}

/// Waits until both hold the same data.
#[track_caller]
pub fn become_equal(master: &mut Client, replica: &mut Client) {
    let expected = digest(master);
    becomes("the replica's digest", &expected, || digest(replica));
}

/// Full sync under writes, then the stream: every pair that has a Russet in it.
#[track_caller]
fn replicates(of_master: Make, of_replica: Make) {
    let master = start(of_master, &["--repl-ping-replica-period", "1"]);
    let mut writer = master.client();
    fill(&mut writer, 3000);
    let replica = replica_of(of_replica, master.port);
    let mut reader = replica.client();
    for i in 0..2000 {
        writer.call(&format!("SET during:{i} {i}"));
        writer.call(&format!("LPUSH during {i}"));
    }
    wait_until_linked(&mut reader);
    become_equal(&mut writer, &mut reader);

    for line in [
        "SELECT 5",
        "SET moved x",
        "RPUSH queue a b c",
        "LPOP queue",
        "INCRBYFLOAT float 0.1",
        "SPOP big",
        "SELECT 0",
        "SET expiring x PX 50",
        "EXPIRE 0:0 1000",
        "DEL big",
        "MULTI",
        "SET in-multi 1",
        "INCR in-multi",
        "EXEC",
    ] {
        writer.call(line);
    }
    assert_eq!(writer.call("WAIT 1 20000"), Value::Integer(1));
    eventually("the key expires on both", || {
        writer.integer("EXISTS expiring") == 0 && reader.integer("EXISTS expiring") == 0
    });
    become_equal(&mut writer, &mut reader);
    assert_eq!(reader.call("GET in-multi"), bulk("2"));
    assert!(reader.integer("TTL 0:0") > 900);
    assert!(reader.text("SET key value").starts_with("READONLY"));
    assert_eq!(reader.info("role"), "slave");
    assert_eq!(writer.info("connected_slaves"), "1");
    assert!(writer.info("slave0").contains("state=online"), "{}", writer.info("slave0"));
}

#[test]
fn russet_replicates_from_russet() {
    replicates(Make::Russet, Make::Russet);
}

#[test]
fn fields_of_hashes_expire_on_both_sides_and_outlive_a_full_sync() {
    let master = start(Make::Russet, &["--repl-ping-replica-period", "1"]);
    let mut writer = master.client();
    writer.call("HSET before a 1 b 2 c 3");
    writer.call("HEXPIRE before 1000 FIELDS 1 b");
    writer.call("HPEXPIRE before 1500 FIELDS 1 c");
    let replica = replica_of(Make::Russet, master.port);
    let mut reader = replica.client();
    wait_until_linked(&mut reader);
    for i in 0..600 {
        writer.call(&format!("HSETEX large PX 100 FIELDS 1 field:{i} {i}"));
    }
    writer.call("HSET large stays 1");
    writer.call("HSETEX soon PX 50 FIELDS 1 f v");
    become_equal(&mut writer, &mut reader);
    let expires_at = "HPEXPIRETIME before FIELDS 3 a b c";
    assert_eq!(writer.call(expires_at), reader.call(expires_at));
    eventually("the fields expire on both", || {
        [&mut writer, &mut reader].into_iter().all(|client| {
            client.integer("HLEN before") == 2
                && client.integer("HLEN large") == 1
                && client.integer("EXISTS soon") == 0
        })
    });
    become_equal(&mut writer, &mut reader);
    assert_eq!(writer.info("expired_subkeys"), "602");
    assert_eq!(reader.info("expired_subkeys"), "0");
    assert!(reader.info("db0").ends_with("subexpiry=1"), "{}", reader.info("db0"));
}

#[test]
fn redis_replicates_from_russet() {
    replicates(Make::Russet, Make::Redis);
}

#[test]
fn russet_replicates_from_redis() {
    replicates(Make::Redis, Make::Russet);
}

#[test]
fn replicaof_on_the_command_line_is_followed() {
    let master = Server::russet(&[]);
    master.client().call("SET key value");
    let address = format!("127.0.0.1 {}", master.port);
    let replica = Server::russet(&["--replicaof", &address]);
    let mut reader = replica.client();
    wait_until_linked(&mut reader);
    assert_eq!(reader.call("GET key"), bulk("value"));
}

/// Cuts the link, writes on, mends it: only what was missed is sent.
#[track_caller]
fn resumes(of_master: Make, of_replica: Make) {
    let master = start(of_master, &["--repl-ping-replica-period", "1", "--repl-backlog-size", "4mb"]);
    let mut writer = master.client();
    fill(&mut writer, 500);
    let proxy = Proxy::to(master.port);
    let replica = replica_of(of_replica, proxy.port);
    let mut reader = replica.client();
    wait_until_linked(&mut reader);
    // The stream is left in a database that is not the first, and goes on in it without saying so.
    writer.call("SELECT 5");
    writer.call("SET before x");
    become_equal(&mut writer, &mut reader);
    for round in 1..=3 {
        proxy.cut();
        becomes("the link's end is seen", &"down".to_owned(), || reader.info("master_link_status"));
        for i in 0..500 {
            writer.call(&format!("SET missed:{round}:{i} {i}"));
        }
        proxy.mend();
        wait_until_linked(&mut reader);
        become_equal(&mut writer, &mut reader);
        becomes("partial resyncs", &round.to_string(), || writer.info("sync_partial_ok"));
    }
    assert_eq!(writer.info("sync_full"), "1");
}

#[test]
fn a_russet_replica_resumes_from_russet_after_a_cut() {
    resumes(Make::Russet, Make::Russet);
}

#[test]
fn a_redis_replica_resumes_from_russet_after_a_cut() {
    resumes(Make::Russet, Make::Redis);
}

#[test]
fn a_russet_replica_resumes_from_redis_after_a_cut() {
    resumes(Make::Redis, Make::Russet);
}

#[test]
fn a_replica_that_missed_more_than_the_backlog_gets_everything_anew() {
    let master = Server::russet(&["--repl-backlog-size", "16kb"]);
    let mut writer = master.client();
    let proxy = Proxy::to(master.port);
    let replica = replica_of(Make::Russet, proxy.port);
    let mut reader = replica.client();
    wait_until_linked(&mut reader);
    proxy.cut();
    becomes("the link's end is seen", &"down".to_owned(), || reader.info("master_link_status"));
    for i in 0..200 {
        writer.call_args(&["SET", &format!("missed:{i}"), &"x".repeat(1000)]);
    }
    eventually("the backlog is trimmed", || {
        writer.info("repl_backlog_histlen").parse::<u64>().unwrap() < 64 << 10
    });
    proxy.mend();
    wait_until_linked(&mut reader);
    become_equal(&mut writer, &mut reader);
    // The first sync was asked for as a partial one too: a former master offers its own history.
    assert_eq!((writer.info("sync_full"), writer.info("sync_partial_err")), ("2".into(), "2".into()));
}

#[test]
fn wait_is_truthful_and_keeps_its_time() {
    let master = Server::russet(&[]);
    let mut writer = master.client();
    assert_eq!(writer.call("WAIT 0 0"), Value::Integer(0));
    let near = replica_of(Make::Russet, master.port);
    let proxy = Proxy::to(master.port);
    let far = replica_of(Make::Redis, proxy.port);
    wait_until_linked(&mut near.client());
    wait_until_linked(&mut far.client());
    becomes("connected replicas", &"2".to_owned(), || writer.info("connected_slaves"));
    for i in 0..20 {
        writer.call(&format!("SET key {i}"));
        assert_eq!(writer.call("WAIT 2 20000"), Value::Integer(2));
        assert_eq!(near.client().call("GET key"), bulk(i.to_string()));
        assert_eq!(far.client().call("GET key"), bulk(i.to_string()));
    }

    proxy.cut();
    becomes("connected replicas", &"1".to_owned(), || writer.info("connected_slaves"));
    writer.call("SET key cut");
    let start = Instant::now();
    assert_eq!(writer.call("WAIT 2 300"), Value::Integer(1));
    let took = start.elapsed();
    assert!(
        (Duration::from_millis(290)..Duration::from_millis(1500)).contains(&took),
        "WAIT 2 300 took {took:?}"
    );
    assert_eq!(writer.call("WAIT 1 0"), Value::Integer(1));

    // A client that waits does not hold up others.
    let mut other = master.client();
    writer.send_raw(b"WAIT 2 1000\r\n");
    assert_eq!(other.call("SET other x"), ok());
    assert_eq!(writer.read(), Value::Integer(1));
}

#[test]
fn a_killed_replica_comes_back_and_catches_up() {
    let master = Server::russet(&[]);
    let mut writer = master.client();
    fill(&mut writer, 1000);
    let address = format!("127.0.0.1 {}", master.port);
    let mut replica = Server::russet(&["--replicaof", &address]);
    wait_until_linked(&mut replica.client());
    for round in 0..3 {
        replica.kill();
        for i in 0..300 {
            writer.call(&format!("SET round:{round}:{i} x"));
        }
        replica.restart();
        let mut reader = replica.client();
        wait_until_linked(&mut reader);
        become_equal(&mut writer, &mut reader);
    }
}

#[test]
fn a_killed_master_comes_back_and_is_followed_again() {
    let mut master = Server::russet(&[]);
    fill(&mut master.client(), 1000);
    master.client().call("SAVE");
    let (ours, theirs) = (replica_of(Make::Russet, master.port), replica_of(Make::Redis, master.port));
    let (mut ours, mut theirs) = (ours.client(), theirs.client());
    wait_until_linked(&mut ours);
    wait_until_linked(&mut theirs);
    master.client().call("SET lost x");
    master.restart();
    let mut writer = master.client();
    writer.call("SET after x");
    for replica in [&mut ours, &mut theirs] {
        wait_until_linked(replica);
        become_equal(&mut writer, replica);
        assert_eq!(replica.integer("EXISTS lost"), 0);
    }
}

#[test]
fn roles_change_at_run_time_in_both_directions() {
    let (first, second) = (Server::russet(&[]), Server::russet(&[]));
    let (mut a, mut b) = (first.client(), second.client());
    fill(&mut a, 300);
    b.call("SET own x");
    b.call(&format!("REPLICAOF 127.0.0.1 {}", first.port));
    wait_until_linked(&mut b);
    become_equal(&mut a, &mut b);
    assert_eq!(b.integer("EXISTS own"), 0);

    assert_eq!(b.call("REPLICAOF NO ONE"), ok());
    assert_eq!(b.info("role"), "master");
    assert_eq!(b.call("SET promoted x"), ok());
    assert_eq!(a.call(&format!("REPLICAOF 127.0.0.1 {}", second.port)), ok());
    wait_until_linked(&mut a);
    become_equal(&mut b, &mut a);
    assert_eq!(a.call("GET promoted"), bulk("x"));
    // The old master continues where the new one branched off.
    assert_eq!((b.info("sync_full"), b.info("sync_partial_ok")), ("0".into(), "1".into()));
}

#[test]
fn a_password_protects_the_stream() {
    let master = Server::russet(&["--requirepass", "secret"]);
    let mut writer = master.client();
    assert_eq!(writer.call("AUTH secret"), ok());
    writer.call("SET key value");
    let address = format!("127.0.0.1 {}", master.port);
    let replica = Server::russet(&["--replicaof", &address, "--masterauth", "secret"]);
    let mut reader = replica.client();
    wait_until_linked(&mut reader);
    assert_eq!(reader.call("GET key"), bulk("value"));
}

#[test]
fn too_few_replicas_refuse_writes_when_asked_to() {
    let master = Server::russet(&["--min-replicas-to-write", "1"]);
    let mut writer = master.client();
    assert!(writer.text("SET key value").starts_with("NOREPLICAS"));
    let replica = replica_of(Make::Russet, master.port);
    wait_until_linked(&mut replica.client());
    becomes("writes are taken", &"OK".to_owned(), || writer.text("SET key value"));
}

#[test]
fn a_replica_without_its_master_serves_stale_data_unless_told_not_to() {
    let mut master = Server::russet(&[]);
    master.client().call("SET key value");
    let replica = replica_of(Make::Russet, master.port);
    let mut reader = replica.client();
    wait_until_linked(&mut reader);
    master.kill();
    becomes("the link's end is seen", &"down".to_owned(), || reader.info("master_link_status"));
    assert_eq!(reader.call("GET key"), bulk("value"));
    reader.call("CONFIG SET replica-serve-stale-data no");
    assert!(reader.text("GET key").starts_with("MASTERDOWN"));
    assert_eq!(
        reader.text("PING"),
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
    );
}

#[test]
fn blocked_clients_on_a_master_are_served_and_their_pops_replicated() {
    let master = Server::russet(&[]);
    let replica = replica_of(Make::Redis, master.port);
    let (mut writer, mut waiting, mut reader) = (master.client(), master.client(), replica.client());
    wait_until_linked(&mut reader);
    waiting.send_raw(b"BLMOVE source target LEFT RIGHT 0\r\n");
    becomes("blocked clients", &"1".to_owned(), || writer.info("blocked_clients"));
    writer.call("RPUSH source a b c");
    assert_eq!(waiting.read(), bulk("a"));
    become_equal(&mut writer, &mut reader);
    assert_eq!(reader.call("LRANGE target 0 -1"), Value::Array(vec![bulk("a")]));
}

#[test]
fn a_silent_master_is_given_up_after_repl_timeout() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let replica = Server::russet(&["--repl-timeout", "2"]);
    let port = silent.local_addr().unwrap().port();
    replica.client().call(&format!("REPLICAOF 127.0.0.1 {port}"));
    // It comes back only when it has given the first connection up, which stays open.
    let first = silent.accept().unwrap();
    let start = Instant::now();
    let second = silent.accept().unwrap();
    assert!((1..20).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert!(replica.log().contains("Timeout connecting to the MASTER..."));
    drop((first, second));
}

#[test]
fn the_master_is_a_client_of_its_replica_and_can_be_killed() {
    let master = Server::russet(&[]);
    let replica = replica_of(Make::Russet, master.port);
    let (mut writer, mut reader) = (master.client(), replica.client());
    wait_until_linked(&mut reader);
    let addr = format!("addr=127.0.0.1:{}", master.port);
    eventually("the master is listed", || {
        let list = reader.text("CLIENT LIST");
        list.lines().any(|line| line.contains(&addr) && line.contains("flags=M"))
    });
    assert_eq!(reader.call(&format!("CLIENT KILL 127.0.0.1:{}", master.port)), ok());
    becomes("partial resyncs", &"1".to_owned(), || writer.info("sync_partial_ok"));
    writer.call("SET key value");
    become_equal(&mut writer, &mut reader);
    assert_eq!(writer.info("sync_full"), "1");
}

#[test]
fn a_replica_that_has_just_come_is_not_pinged_at_once() {
    let master = Server::russet(&["--repl-ping-replica-period", "3600"]);
    let replica = replica_of(Make::Russet, master.port);
    wait_until_linked(&mut replica.client());
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(master.client().info("master_repl_offset"), "0");
}

#[test]
fn keys_that_expired_while_a_master_was_down_are_deleted_on_its_replicas() {
    let mut master = Server::russet(&["--repl-ping-replica-period", "3600"]);
    let replica = replica_of(Make::Russet, master.port);
    let (mut writer, mut reader) = (master.client(), replica.client());
    wait_until_linked(&mut reader);
    writer.call("DEBUG SET-ACTIVE-EXPIRE 0");
    writer.call("SET stays 1");
    writer.call("SELECT 3");
    writer.call("SET goes 1 PX 30");
    assert_eq!(writer.call("WAIT 1 20000"), Value::Integer(1));
    std::thread::sleep(Duration::from_millis(40));
    writer.call("SAVE");
    reader.call("SELECT 3");
    assert_eq!(reader.integer("DBSIZE"), 1);
    master.kill();
    becomes("the link's end is seen", &"down".to_owned(), || reader.info("master_link_status"));
    master.restart();
    wait_until_linked(&mut reader);
    becomes("keys on the replica", &0, || reader.integer("DBSIZE"));
    assert_eq!(master.client().info("sync_partial_ok"), "1");
    become_equal(&mut master.client(), &mut reader);
}

#[test]
fn a_replica_that_asks_for_more_than_the_stream_is_sent_away() {
    let master = Server::russet(&[]);
    let mut replica = master.client();
    replica.send_raw(b"SYNC\r\nGET key\r\n");
    replica.read_to_end();
    let log = master.log();
    assert!(log.contains("Replica can't interact with the keyspace"), "{log}");
    assert!(log.contains("Replica generated a reply to command 'get', disconnecting it: id="), "{log}");
}

#[test]
fn a_snapshot_can_be_asked_for_without_its_keys() {
    let master = Server::russet(&["--rdbcompression", "no"]);
    let mut replica = master.client();
    replica.call("SET secret-key value");
    let library = "#!lua name=lib\nredis.register_function('f', function() return 'shown' end)";
    assert_eq!(replica.call_args(&["FUNCTION", "LOAD", library]), bulk("lib"));
    for (filter, is_with_functions) in [("functions", true), ("", false)] {
        filters_snapshot(&master, filter, is_with_functions);
    }
}

/// The payload of a replica that asks for this never has keys in it.
#[track_caller]
fn filters_snapshot(master: &Server, filter: &str, is_with_functions: bool) {
    let mut replica = master.client();
    let sent = |master: &Server| master.log().matches("succeeded").count();
    let sent_before = sent(master);
    assert_eq!(replica.call("REPLCONF rdb-only 1"), ok());
    assert_eq!(replica.text("REPLCONF rdb-filter-only keys"), "ERR Unsupported rdb-filter-only option: keys");
    assert_eq!(replica.call_args(&["REPLCONF", "rdb-filter-only", filter]), ok());
    replica.send_raw(b"SYNC\r\n");
    eventually("it is sent", || sent(master) > sent_before);
    // What is no acknowledgement ends the link.
    replica.send_raw(b"PING\r\n");
    let payload = replica.read_to_end();
    assert!(payload.windows(5).any(|bytes| bytes == b"REDIS"));
    assert!(!payload.windows(10).any(|bytes| bytes == b"secret-key"));
    assert_eq!(payload.windows(6).any(|bytes| bytes == b"'shown"), is_with_functions);
}

#[test]
fn a_replica_that_does_not_read_is_closed_at_its_output_limit() {
    let master = Server::russet(&["--repl-backlog-size", "16kb", "--repl-timeout", "3600"]);
    let replica = replica_of(Make::Redis, master.port);
    let mut writer = master.client();
    wait_until_linked(&mut replica.client());
    assert_eq!(writer.call_args(&["CONFIG", "SET", "client-output-buffer-limit", "replica 1mb 0 0"]), ok());
    replica.signal("STOP");
    let value = "x".repeat(1 << 20);
    for i in 0..24 {
        writer.call(&format!("SET big:{i} {value}"));
    }
    becomes("replicas", &"0".to_owned(), || writer.info("connected_slaves"));
    replica.signal("CONT");
    wait_until_linked(&mut replica.client());
    become_equal(&mut writer, &mut replica.client());
    assert_eq!(writer.info("sync_full"), "2");
}

#[test]
fn a_command_of_the_master_that_fails_is_told_and_may_end_the_replica() {
    let master = Server::russet(&[]);
    let mut writer = master.client();
    let going_on = replica_of(Make::Russet, master.port);
    let mut strict = replica_of(Make::Russet, master.port);
    strict.client().call("CONFIG SET propagation-error-behavior panic");
    wait_until_linked(&mut going_on.client());
    wait_until_linked(&mut strict.client());
    assert_eq!(writer.call("DEBUG REPLICATE fake-command x"), ok());
    writer.call("SET key value");
    assert_eq!(strict.wait().code(), Some(1));
    assert!(strict.log().contains("This replica panicked sending an error to its master"));
    becomes("the other goes on", &bulk("value"), || going_on.client().call("GET key"));
    assert_eq!(going_on.client().info("unexpected_error_replies"), "1");
    let log = going_on.log();
    let line = log.lines().find(|line| line.contains("== CRITICAL ==")).unwrap();
    assert!(line.contains("sending an error to its master") && line.contains("fake-command"), "{line}");
}

#[test]
fn a_replica_that_cannot_save_ends_rather_than_differ_unless_told_to_go_on() {
    let master = Server::russet(&[]);
    let mut writer = master.client();
    let mut replicas =
        [&["--save", "3600 1000000"][..], &["--replica-ignore-disk-write-errors", "yes", "--save", "9 9999"]]
            .map(|args| start(Make::Russet, args));
    for replica in &replicas {
        // A folder in the place of the file: the save fails.
        std::fs::create_dir(replica.dump()).unwrap();
        let mut client = replica.client();
        client.call(&format!("REPLICAOF 127.0.0.1 {}", master.port));
        wait_until_linked(&mut client);
        client.call("BGSAVE");
        becomes("the save fails", &"err".to_owned(), || client.info("rdb_last_bgsave_status"));
    }
    writer.call("SET key value");
    assert_eq!(replicas[0].wait().code(), Some(1));
    assert!(replicas[0].log().contains("Replica was unable to write command to disk."));
    becomes("the other goes on", &bulk("value"), || replicas[1].client().call("GET key"));
}

#[test]
fn a_replica_that_was_a_master_for_a_moment_goes_on_in_the_database_of_the_stream() {
    // It went on in database 0, since it had not written as a master.
    let master = start(Make::Russet, &["--repl-ping-replica-period", "1"]);
    let replica = replica_of(Make::Russet, master.port);
    let (mut writer, mut reader) = (master.client(), replica.client());
    wait_until_linked(&mut reader);
    writer.call("SELECT 9");
    writer.call("SET before 1");
    become_equal(&mut writer, &mut reader);
    assert_eq!(reader.call("REPLICAOF NO ONE"), ok());
    assert_eq!(reader.call(&format!("REPLICAOF 127.0.0.1 {}", master.port)), ok());
    wait_until_linked(&mut reader);
    writer.call("SET after 1");
    become_equal(&mut writer, &mut reader);
    assert_eq!(writer.info("sync_partial_ok"), "1");
}

#[test]
fn a_paused_replica_tells_how_far_it_has_read() {
    let master = start(Make::Russet, &["--repl-ping-replica-period", "3600"]);
    let replica = replica_of(Make::Russet, master.port);
    let (mut writer, mut reader) = (master.client(), replica.client());
    wait_until_linked(&mut reader);
    writer.call("SET key value");
    become_equal(&mut writer, &mut reader);
    let before = reader.info("slave_repl_offset");
    assert_eq!(reader.call("CLIENT PAUSE 100000 WRITE"), ok());
    writer.call("SET other value");
    let end = writer.info("master_repl_offset");
    becomes("slave_read_repl_offset", &end, || reader.info("slave_read_repl_offset"));
    assert_eq!(reader.info("slave_repl_offset"), before);
    assert_eq!(reader.call("CLIENT UNPAUSE"), ok());
    becomes("slave_repl_offset", &end, || reader.info("slave_repl_offset"));
    assert_eq!(reader.info("slave_read_repl_offset"), end);
}
