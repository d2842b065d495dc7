//! Slow scripts: others read BUSY, and stop them; and libraries on their way to replicas and through files.

use russet::resp::value::Value;

use crate::harness::{Client, Server, bulk, eventually, ok};

const BUSY: &str = "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
const LIBRARY: &str =
    "#!lua name=lib\nredis.register_function('hello', function(keys, args) return 'hello ' .. args[1] end)";

fn server() -> Server {
    Server::russet(&["--busy-reply-threshold", "50"])
}

fn error(value: Value) -> String {
    match value {
        Value::Error(text) => String::from_utf8_lossy(&text).into_owned(),
        other => panic!("not an error: {other:?}"),
    }
}

/// Begins a script that nobody waits for, and waits until others are told that it is slow.
fn begin(server: &Server, script: &str) -> (Client, Client) {
    let mut runner = server.client();
    runner.send_raw(format!("EVAL \"{script}\" 0\r\n").as_bytes());
    let mut other = server.client();
    eventually("the script is slow", || other.call("PING") == Value::Error(BUSY.as_bytes().to_vec()));
    (runner, other)
}

#[test]
fn a_slow_script_is_stopped_whatever_it_does_to_go_on() {
    let server = server();
    for script in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local c = coroutine.wrap(function() while true do end end) c()",
    ] {
        let (mut runner, mut other) = begin(&server, script);
        assert_eq!(error(other.call("GET x")), BUSY);
        assert_eq!(error(server.client().call("FUNCTION KILL")), BUSY);
        assert_eq!(other.call("SCRIPT KILL"), ok());
        assert!(
            error(runner.read()).starts_with("ERR Script killed by user with SCRIPT KILL..."),
            "{script}"
        );
        eventually("the server goes on", || other.call("PING") == Value::Simple(b"PONG".to_vec()));
    }
}

#[test]
fn what_was_sent_to_a_busy_server_is_answered_in_order() {
    let server = server();
    let (mut runner, mut other) = begin(&server, "while true do end");
    other.send_raw(b"MULTI\r\nSET k v\r\nEXEC\r\nUNWATCH\r\nSCRIPT KILL\r\n");
    assert_eq!(other.read(), ok());
    assert_eq!(error(other.read()), BUSY);
    assert!(error(other.read()).starts_with("EXECABORT"));
    assert_eq!(other.read(), ok());
    assert_eq!(other.read(), ok());
    error(runner.read());
    eventually("the server goes on", || other.call("PING") == Value::Simple(b"PONG".to_vec()));
}

#[test]
fn a_script_that_has_written_ends_with_the_server_alone() {
    let server = server();
    let (_runner, mut other) = begin(&server, "redis.call('SET', 'k', 1) while true do end");
    assert!(error(other.call("SCRIPT KILL")).starts_with("UNKILLABLE"));
    assert_eq!(error(other.call("SHUTDOWN")), BUSY);
    other.send_raw(b"SHUTDOWN NOSAVE\r\n");
    eventually("the server is gone", || Client::try_connect(server.port).is_err());
}

#[test]
fn what_a_script_logs_is_text() {
    let server = server();
    let script = "redis.log('3', 'first', nil, {}, 1/3, 2^53) redis.log(3, nil, 'second')";
    assert_eq!(server.client().call_args(&["EVAL", script, "0"]), Value::NullBulk);
    let log = server.log();
    assert!(log.contains("# first 0.33333333333333 9.007199254741e+15\n"), "{log}");
    assert!(log.contains("#  second\n"), "{log}");
}

#[test]
fn libraries_reach_replicas_and_files() {
    let master = Server::russet(&["--enable-debug-command", "yes"]);
    let mut client = master.client();
    assert_eq!(client.call_args(&["FUNCTION", "LOAD", LIBRARY]), bulk("lib"));
    assert_eq!(client.call("DEBUG RELOAD"), ok());
    assert_eq!(client.call("FCALL hello 0 world"), bulk("hello world"));
    for kind in [Server::russet as fn(&[&str]) -> Server, Server::redis] {
        let replica = kind(&[]);
        let mut of_replica = replica.client();
        of_replica.call(&format!("REPLICAOF 127.0.0.1 {}", master.port));
        let asks = |client: &mut Client| client.call("FCALL_RO hello 0 x");
        eventually(
            "a full sync brings the library",
            || !matches!(asks(&mut of_replica), Value::Error(text) if text.ends_with(b"not found")),
        );
        let other = LIBRARY.replace("lib", "later").replace("'hello'", "'later'");
        client.call_args(&["FUNCTION", "LOAD", "REPLACE", &other]);
        eventually(
            "the stream brings another",
            || matches!(of_replica.call("FUNCTION LIST LIBRARYNAME later"), Value::Array(found) if !found.is_empty()),
        );
        client.call("FUNCTION DELETE later");
    }
}

#[test]
fn scripts_that_came_with_eval_give_way_to_others() {
    let server = server();
    let mut client = server.client();
    let Value::Bulk(loaded) = client.call_args(&["SCRIPT", "LOAD", "return 'loaded'"]) else {
        panic!("a digest")
    };
    let digest_of = |client: &mut Client, number: usize| {
        client.call_args(&["EVAL", &format!("return redis.sha1hex('return {number}')"), "0"])
    };
    for number in 0..600 {
        client.call_args(&["EVAL", &format!("return {number}"), "0"]);
        client.call_args(&["EVAL", "return 0", "0"]);
    }
    let exists = client.call_args(&[&b"SCRIPT"[..], b"EXISTS", &loaded]);
    assert_eq!(exists, Value::Array(vec![Value::Integer(1)]));
    assert_eq!(client.info("number_of_cached_scripts"), "501");
    assert_eq!(client.info("evicted_scripts"), "100");
    for (number, is_there) in [(0, true), (1, false), (50, false), (599, true)] {
        let Value::Bulk(digest) = digest_of(&mut client, number) else { panic!("a digest") };
        let reply = client.call_args(&[b"EVALSHA", &digest[..], b"0"]);
        assert_eq!(matches!(reply, Value::Integer(_)), is_there, "{number}: {reply:?}");
    }
}

#[test]
fn a_slow_script_sees_that_a_replica_has_gone_and_still_writes() {
    // The replica's connection waited for the engine, so that the script saw it until its end.
    let master = server();
    let replica = Server::russet(&[]);
    let mut of_replica = replica.client();
    assert_eq!(of_replica.call(&format!("REPLICAOF 127.0.0.1 {}", master.port)), ok());
    let mut client = master.client();
    eventually("the replica is there", || client.info("slave0").contains("state=online"));
    assert_eq!(client.call("CONFIG SET min-replicas-to-write 1"), ok());
    eventually("the replica is a good one", || client.call("SET key value") == ok());
    let (mut runner, _) = begin(
        &master,
        "redis.call('SET', 'key', 'before') \
         repeat local info = redis.call('INFO', 'replication') until string.find(info, 'connected_slaves:0', 1, true) \
         redis.call('SET', 'key', 'after') return 'done'",
    );
    assert_eq!(of_replica.call("REPLICAOF NO ONE"), ok());
    assert_eq!(runner.read(), bulk("done"));
    assert_eq!(client.call("GET key"), bulk("after"));
    assert!(error(client.call("SET key value")).starts_with("NOREPLICAS"));
}

#[test]
fn who_waits_for_a_key_is_served_behind_the_script_that_made_it() {
    // A command that a slow script's server did run (HELLO) served those who waited for keys of the script.
    let server = Server::russet(&["--busy-reply-threshold", "50", "--enable-debug-command", "yes"]);
    let mut waiter = server.client();
    waiter.send_raw(b"BLPOP list 0\r\n");
    let mut client = server.client();
    eventually("it waits", || client.info("blocked_clients") == "1");
    assert_eq!(client.call("DEBUG SET-DISABLE-DENY-SCRIPTS 1"), ok());
    let (mut runner, mut other) = begin(
        &server,
        "redis.call('LPUSH', 'list', 'first') \
         repeat local clients = redis.call('CLIENT', 'LIST') until string.find(clients, 'enough', 1, true) \
         redis.call('LPUSH', 'list', 'second') return 'done'",
    );
    other.call("HELLO 2 SETNAME enough");
    assert_eq!(runner.read(), bulk("done"));
    assert_eq!(waiter.read().elements().unwrap()[1], bulk("second"));
}

#[test]
fn a_server_that_saves_ends_at_once_though_a_script_is_slow() {
    // The save could not report its end while the script held the engine, and SHUTDOWN NOSAVE waited for that.
    let server = server();
    let mut client = server.client();
    assert_eq!(client.call("SET key value"), ok());
    assert_eq!(client.call("CONFIG SET rdb-key-save-delay 500000"), ok());
    client.call("BGSAVE");
    let (_runner, mut other) = begin(&server, "redis.call('SET', 'k', 1) while true do end");
    other.send_raw(b"SHUTDOWN NOSAVE\r\n");
    eventually("the server is gone", || Client::try_connect(server.port).is_err());
}
