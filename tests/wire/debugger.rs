//! The debugger of scripts: what its client reads is what it reads of a real redis-server, and what a session leaves behind.

use std::io::Write as _;
use std::process::{Command, Stdio};

use russet::resp::value::Value;

use crate::harness::{Client, Server, bulk, eventually, ok};

const SCRIPT: &str = "local a = 1
local t = {1, 2, {x = 'y'}}
local s = redis.call('SET', KEYS[1], ARGV[1])
for i = 1, 3 do
  a = a + i
end
redis.debug('hello', a, t)
redis.breakpoint()
local function f(n)
  local inner = n * 2
  return inner
end
local r = f(a)
local e = redis.pcall('INCR', KEYS[1])
redis.setresp(3)
local h = redis.call('HGETALL', 'h')
return {a, s, r, e, h.map}
";
const STEPS: &[&str] = &[
    "p", "s", "p", "n", "print t", "p KEYS", "p ARGV", "p nosuch", "l", "list 3 1", "list 0 1", "list x",
    "w", "s", "s", "c", "t", "s", "s", "p inner", "t", "s", "s", "t", "s", "s", "s", "s", "c",
];
const QUESTIONS: &[&str] = &[
    "h",
    "b",
    "b 5 99 -1 0 x",
    "b 5",
    "b 11",
    "b",
    "b -5",
    "c",
    "t",
    "p inner",
    "e a + 1",
    "e inner",
    "e return 5",
    "e x = 1",
    "e error('x')",
    "e nosuch",
    "e (",
    "e redis.call('GET','key')",
    "r GET key",
    "r NOSUCH",
    "r INCR key",
    "r",
    "redis",
    "r SET a b",
    "m",
    "m 10",
    "m 100",
    "m 0",
    "r MGET a b key",
    "r COMMAND DOCS nosuch",
    "p",
    "nonsense",
    "e string.rep('x', 100)",
    "m 60",
    "e string.rep('x', 100)",
    "m 70",
    "e string.rep('x', 100)",
    "e {1,2,{a=1}}",
    "e {{{{{{{{{{{{1}}}}}}}}}}}}",
    "e nil",
    "e true",
    "e 1.5",
    "e 1e20",
    "e 1/3",
    "e {}",
    "e 'a\\nb\\0'",
    "STEP",
    "c",
    "c",
];

/// A session: what the client reads of EVAL, of each command, and at last.
fn session(client: &mut Client, mode: &str, script: &str, words: &[&str], steps: &[&str]) -> Vec<String> {
    assert_eq!(client.call(&format!("SCRIPT DEBUG {mode}")), ok());
    let mut request = vec!["EVAL", script];
    request.extend(words);
    let mut replies = vec![client.call_args(&request)];
    for step in steps {
        match client.try_call(&step.split(' ').collect::<Vec<_>>()) {
            Ok(reply) => replies.push(reply),
            Err(_) => break,
        }
    }
    while let Ok(reply) = client.try_read() {
        replies.push(reply);
    }
    let text = |reply: &Value| {
        let mut bytes = Vec::new();
        reply.write(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    replies.iter().map(text).collect()
}

#[test]
fn a_session_reads_as_that_of_redis() {
    let (ours, theirs) = (Server::russet(&[]), Server::redis(&[]));
    let cases: &[(&str, &[&str], &[&str])] = &[
        (SCRIPT, &["1", "key", "value"], STEPS),
        (SCRIPT, &["1", "key", "value"], QUESTIONS),
        ("return (", &["0"], &[]),
        ("return 1", &["1"], &[]),
        ("return 1", &["0"], &["a"]),
        ("local x = 1\nreturn pcall(function()\nreturn 1\nend)\r\n\n", &["0"], &["w", "s", "a"]),
        ("error('boom')", &["0"], &["c"]),
        ("return redis.call('nosuch')", &["0"], &["s"]),
        ("return redis.call('get')", &["0"], &["s"]),
        ("#!lua flags=no-writes\nreturn redis.call('set', 'a', 'b')", &["0"], &["w", "s"]),
        ("return redis.call('incr', KEYS[1])", &["1", "n"], &["s"]),
        ("return redis.call('mset', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)", &["0"], &["s"]),
        ("return redis.breakpoint()", &["0"], &["c"]),
        ("local f = coroutine.wrap(function()\nlocal q = 5\nend)\nf()\nreturn 1", &["0"], &["s", "p", "c"]),
        ("redis.debug()\nredis.debug(nil, true, {})\nreturn 1", &["0"], &["s", "s", "s"]),
    ];
    for protocol in ["2", "3"] {
        for (script, words, steps) in cases {
            let [found, expected] = [&ours, &theirs].map(|server| {
                let mut client = server.client();
                client.call(&format!("HELLO {protocol}"));
                session(&mut client, "YES", script, words, steps)
            });
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(found, expected, "reply {at} of {script}");
            }
            assert_eq!(found.len(), expected.len(), "{script}");
        }
    }
    assert_eq!(ours.client().call("DBSIZE"), Value::Integer(0));
}

#[test]
fn others_are_served_while_a_script_is_stepped_through_and_see_nothing_of_it() {
    let server = Server::russet(&[]);
    let (mut runner, mut other) = (server.client(), server.client());
    assert_eq!(runner.call("SCRIPT DEBUG YES"), ok());
    runner.call_args(&["EVAL", "redis.call('INCR', 'n')\nreturn redis.call('GET', 'n')", "0"]);
    assert_eq!(other.call("SET n 10"), ok());
    runner.call("step");
    assert_eq!(other.call("GET n"), bulk("10"));
    let end = runner.call("continue");
    assert!(format!("{:?}", end.elements().unwrap().last()).contains("Simple"), "{end:?}");
    assert_eq!(runner.read(), bulk("1"));
    assert!(runner.try_read().is_err(), "the connection is closed");
    assert_eq!(other.call("GET n"), bulk("10"));
}

#[test]
fn a_synchronous_session_keeps_others_waiting_and_what_it_writes() {
    let server = Server::russet(&["--busy-reply-threshold", "50"]);
    let (mut runner, mut other) = (server.client(), server.client());
    assert_eq!(runner.call("SCRIPT DEBUG SYNC"), ok());
    runner.call_args(&["EVAL", "redis.call('SET', 'n', 1)\nreturn 5", "0"]);
    other.send_raw(b"GET n\r\n");
    runner.call("step");
    assert!(!other.has_reply());
    runner.call("step");
    assert_eq!(runner.read(), Value::Integer(5));
    assert_eq!(other.read(), bulk("1"));
    // Who leaves a script that would not end takes it along.
    let mut runner = server.client();
    assert_eq!(runner.call("SCRIPT DEBUG SYNC"), ok());
    runner.call_args(&["EVAL", "while true do end", "0"]);
    runner.send_raw(b"*1\r\n$1\r\nc\r\n");
    drop(runner);
    assert_eq!(other.call("GET n"), bulk("1"));
    assert_eq!(other.call_args(&["EVAL", "return redis.breakpoint()", "0"]), Value::NullBulk);
}

#[test]
fn redis_cli_steps_through_a_script() {
    let server = Server::russet(&[]);
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.lua");
    std::fs::write(&script, "local a = 41\nreturn a + 1\n").unwrap();
    let mut process = Command::new("redis-cli")
        .args(["-p", &server.port.to_string(), "--ldb", "--eval"])
        .arg(&script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli is installed");
    process.stdin.take().unwrap().write_all(b"step\nprint a\ncontinue\nquit\n").unwrap();
    let output = process.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for expected in ["* Stopped at 1", "-> 2   return a + 1", "<value> 41", "(integer) 42", "session ended"] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    eventually("the server goes on", || server.client().call("PING") == Value::Simple(b"PONG".to_vec()));
}
