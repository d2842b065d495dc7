//! Reads of everything, which run beside the engine: in order for their own client, unnoticed by the others.

use russet::resp::value::Value;

use crate::harness::{Client, Server, becomes, bulk, eventually};
use crate::replication;

/// More than `runtime/reads.rs` calls long.
const KEYS: usize = 60_000;
const MEMBERS: usize = 30_000;

fn server() -> (Server, Client) {
    let server = Server::russet(&["--enable-debug-command", "yes"]);
    let mut client = server.client();
    client.call(&format!("DEBUG POPULATE {KEYS}"));
    let members: Vec<String> = (0..MEMBERS).map(|n| format!("member:{n}")).collect();
    for (command, key) in [("SADD", "set"), ("RPUSH", "list")] {
        let mut request = vec![command, key];
        request.extend(members.iter().map(String::as_str));
        client.call_args(&request);
    }
    (server, client)
}

fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(elements) => elements,
        other => panic!("not an array: {other:?}"),
    }
}

#[test]
fn requests_behind_a_long_read_are_answered_behind_it() {
    let (_server, mut client) = server();
    for _ in 0..3 {
        client.send_raw(
            b"PING before\r\nKEYS *\r\nPING one\r\nSMEMBERS set\r\nLRANGE list 0 -1\r\nDEL list\r\nLRANGE list 0 -1\r\n\
              DEBUG DIGEST\r\nSORT set\r\nRPUSH list a\r\nPING end\r\n",
        );
        assert_eq!(client.read(), bulk("before"));
        assert!(elements(client.read()).len() > KEYS);
        assert_eq!(client.read(), bulk("one"));
        assert_eq!(elements(client.read()).len(), MEMBERS);
        assert!(!elements(client.read()).is_empty());
        assert_eq!(client.read(), Value::Integer(1));
        assert!(elements(client.read()).is_empty());
        assert!(matches!(client.read(), Value::Simple(_)));
        assert!(matches!(client.read(), Value::Error(_)), "the members are no numbers");
        assert_eq!(client.read(), Value::Integer(1));
        assert_eq!(client.read(), bulk("end"));
    }
}

#[test]
fn a_long_read_answers_what_exec_answers() {
    let (_server, mut client) = server();
    for read in
        ["KEYS *", "KEYS key:1*", "SMEMBERS set", "LRANGE list 0 -1", "DEBUG DIGEST", "SORT list ALPHA"]
    {
        let beside = client.call(read);
        client.call("MULTI");
        client.call(read);
        assert_eq!(elements(client.call("EXEC")), [beside], "{read}");
    }
}

#[test]
fn clients_may_go_while_their_reads_run() {
    let (server, mut client) = server();
    for _ in 0..10 {
        let mut leaving = server.client();
        let id = leaving.integer("CLIENT ID");
        leaving.send_raw(&b"KEYS *\r\nDEBUG DIGEST\r\n".repeat(20));
        client.call(&format!("CLIENT KILL ID {id}"));
        let mut silent = server.client();
        silent.send_raw(&b"KEYS *\r\n".repeat(20));
    }
    assert!(elements(client.call("KEYS *")).len() > KEYS);
    becomes("nobody waits any more", &"0".to_owned(), || client.info("blocked_clients"));
    becomes("they have gone", &"1".to_owned(), || client.info("connected_clients"));
}

#[test]
fn the_limit_of_output_holds_for_long_reads() {
    let (server, mut client) = server();
    client.call_args(&["CONFIG", "SET", "client-output-buffer-limit", "normal 100000 0 0"]);
    let mut reader = server.client();
    reader.send_raw(b"KEYS *\r\n");
    reader.read_to_end();
    eventually("the other client is served on", || client.text("PING") == "PONG");
    assert!(server.log().contains("overcoming of output buffer limits"));
}

/// What is removed in one piece, with the reply put together beside the engine, is removed from the replica as well; sooner
/// or later the master has cleaned up behind it, which nobody can tell.
#[test]
fn many_elements_go_at_once_here_and_on_a_replica() {
    let (server, mut client) = server();
    let replica = replication::replica_of(replication::Make::Russet, server.port);
    let mut other = replica.client();
    replication::wait_until_linked(&mut other);
    let members: Vec<String> = (0..MEMBERS).map(|n| format!("{n}")).collect();
    let mut request = vec!["ZADD", "zset"];
    request.extend(members.iter().flat_map(|member| [member.as_str(); 2]));
    client.call_args(&request);
    for (n, removal) in [
        "LPOP list 25000",
        "SPOP set 25000",
        "SPOP set 100000",
        "ZREMRANGEBYRANK zset 100 4000",
        "ZADD zset 1 500 2 501",
        "ZPOPMAX zset 21000",
        "COPY zset copy",
        "ZREMRANGEBYSCORE zset -inf +inf",
        "RENAME copy zset",
        "ZREMRANGEBYRANK zset 0 -11",
        "LTRIM list -5 -1",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(!matches!(client.call(removal), Value::Error(_)), "{removal}");
        if n % 2 == 0 {
            replication::become_equal(&mut client, &mut other);
        }
    }
    replication::become_equal(&mut client, &mut other);
    assert_eq!(client.integer("ZCARD zset"), 10);
    assert_eq!(client.integer("LLEN list"), 5);
}
