//! Replicas of replicas, Russet's and Redis' in turn.

use russet::resp::value::Value;

use crate::harness::{Client, Proxy, Server, becomes, bulk, fill, ok};
use crate::replication::{Make, become_equal, replica_of, start, wait_until_linked};

/// A chain of servers, each the replica of the one before it.
fn chain(makes: &[Make]) -> Vec<Server> {
    let mut servers = vec![start(makes[0], &["--repl-ping-replica-period", "1"])];
    fill(&mut servers[0].client(), 1000);
    for &make in &makes[1..] {
        let replica = replica_of(make, servers.last().expect("it has a head").port);
        wait_until_linked(&mut replica.client());
        servers.push(replica);
    }
    servers
}

fn offset(client: &mut Client) -> String {
    client.info("master_repl_offset")
}

#[track_caller]
fn stays_equal(makes: &[Make]) {
    let servers = chain(makes);
    let mut head = servers[0].client();
    for i in 0..500 {
        head.call(&format!("SET later:{i} x"));
        head.call(&format!("RPUSH list {i}"));
    }
    for server in &servers[1..] {
        let mut replica = server.client();
        become_equal(&mut head, &mut replica);
        let replid = head.info("master_replid");
        assert_eq!(replica.info("master_replid"), replid, "the stream has one name along the chain");
        becomes("all count the same bytes", &true, || offset(&mut head) == offset(&mut replica));
    }
}

#[test]
fn redis_russet_redis_russet_stay_equal() {
    stays_equal(&[Make::Redis, Make::Russet, Make::Redis, Make::Russet]);
}

#[test]
fn russet_redis_russet_redis_stay_equal() {
    stays_equal(&[Make::Russet, Make::Redis, Make::Russet, Make::Redis]);
}

#[test]
fn a_chain_of_russets_stays_equal() {
    stays_equal(&[Make::Russet; 4]);
}

#[test]
fn a_promoted_replica_keeps_its_replicas_and_takes_over_its_siblings() {
    let head = Server::russet(&[]);
    fill(&mut head.client(), 500);
    let (middle, sibling) = (replica_of(Make::Russet, head.port), replica_of(Make::Redis, head.port));
    let tail = replica_of(Make::Redis, middle.port);
    for server in [&middle, &sibling, &tail] {
        wait_until_linked(&mut server.client());
    }
    let mut old = head.client();
    old.call("SET last x");
    for server in [&middle, &sibling, &tail] {
        become_equal(&mut old, &mut server.client());
    }
    drop((old, head));

    let mut promoted = middle.client();
    assert_eq!(promoted.call("REPLICAOF NO ONE"), ok());
    assert_eq!(sibling.client().call(&format!("REPLICAOF 127.0.0.1 {}", middle.port)), ok());
    assert_eq!(promoted.call("SET new x"), ok());
    for server in [&sibling, &tail] {
        let mut replica = server.client();
        wait_until_linked(&mut replica);
        become_equal(&mut promoted, &mut replica);
        assert_eq!(replica.call("GET new"), bulk("x"));
    }
    assert_eq!(promoted.info("sync_full"), "1", "only the tail's first sync was a full one");
}

#[test]
fn a_cut_in_the_middle_of_a_chain_heals_without_a_full_resync() {
    let head = Server::redis(&["--repl-ping-replica-period", "1"]);
    let mut writer = head.client();
    fill(&mut writer, 300);
    let proxy = Proxy::to(head.port);
    let middle = replica_of(Make::Russet, proxy.port);
    let tail = replica_of(Make::Redis, middle.port);
    let (mut between, mut end) = (middle.client(), tail.client());
    wait_until_linked(&mut between);
    wait_until_linked(&mut end);
    proxy.cut();
    becomes("the cut is seen", &"down".to_owned(), || between.info("master_link_status"));
    writer.call("SET missed x");
    proxy.mend();
    wait_until_linked(&mut between);
    become_equal(&mut writer, &mut between);
    become_equal(&mut writer, &mut end);
    assert_eq!((writer.info("sync_full"), between.info("sync_full")), ("1".into(), "1".into()));
    assert_eq!(writer.call("WAIT 1 20000"), Value::Integer(1));
}

/// The stream of a replica is its master's own bytes, which need not begin with a SELECT.
#[test]
fn a_replica_of_a_replica_begins_in_the_database_that_the_stream_is_in() {
    for makes in [
        [Make::Redis, Make::Russet, Make::Redis],
        [Make::Redis, Make::Redis, Make::Russet],
        [Make::Russet; 3],
    ] {
        let head = start(makes[0], &[]);
        let middle = replica_of(makes[1], head.port);
        wait_until_linked(&mut middle.client());
        let mut writer = head.client();
        writer.call("SELECT 5");
        writer.call("SET before x");
        become_equal(&mut writer, &mut middle.client());
        let tail = replica_of(makes[2], middle.port);
        wait_until_linked(&mut tail.client());
        writer.call("SET after x");
        become_equal(&mut writer, &mut tail.client());
    }
}
