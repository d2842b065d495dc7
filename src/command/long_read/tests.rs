//! A long read answers what the same command answers where it stands.

use crate::base::clock::{ManualClock, UnixMillis};
use crate::command::{Executed, TABLE, dispatch, new_engine};
use crate::config::Config;
use crate::engine::client::Closing;
use crate::engine::long_read::LongRead;
use crate::engine::{ClientId, Engine, Job, LongReadLimits};
use crate::resp::args::OwnedArgs;
use crate::resp::reply::Protocol;
use crate::storage::digest;

const FILL: &[&str] = &[
    "RPUSH list 3 1 2 9 7",
    "SADD set a b c d e f",
    "SADD other d e f g h",
    "SADD numbers 4 3 2 1 9",
    "HSET hash f 1 g 2 h 3 i 4 j 5",
    "ZADD zset 1 a 2 b 3.5 c 4 d 5 e",
    "SET string x",
    "MSET w_1 9 w_2 8 w_3 7 w_4 6 w_9 5",
    "ZADD lex 0 a 0 b 0 c 0 d",
    "XADD events 1-1 f v",
    "XADD events 1-2 f v g 2",
    "XADD events 3-1 f 17",
    "XADD more 2-1 f v",
    "SETRANGE long 300 end",
];

const READS: &[&str] = &[
    "KEYS *",
    "KEYS *t",
    "KEYS nothing",
    "SMEMBERS set",
    "HGETALL hash",
    "HKEYS hash",
    "HVALS hash",
    "SUNION set other missing",
    "SINTER set other",
    "SDIFF set other",
    "SINTERCARD 2 set other LIMIT 2",
    "SINTERCARD 2 set other LIMIT -1",
    "SUNION set list",
    "ZRANGE zset 0 -1 WITHSCORES",
    "ZRANGE zset 0 -1 REV LIMIT 0 1",
    "ZREVRANGE zset 0 -1",
    "ZUNION 2 zset set WITHSCORES",
    "ZUNION 2 zset list",
    "ZINTER 2 zset set",
    "ZDIFF 2 zset set",
    "ZINTERCARD 2 zset set",
    "LRANGE list 0 -1",
    "LRANGE list -100 100",
    "LRANGE zset 0 -1",
    "SORT list",
    "SORT numbers BY w_* GET # GET w_* DESC",
    "SORT_RO set ALPHA LIMIT 1 3",
    "SORT set",
    "SORT zset ALPHA NOSORT",
    "SMEMBERS hash",
    "SCAN 0 COUNT 100",
    "SCAN 0 MATCH w* COUNT 100 TYPE string",
    "HSCAN hash 0 COUNT 100",
    "SSCAN set 0 COUNT 100",
    "ZSCAN zset 0 COUNT 100",
    "HSCAN list 0 COUNT 100",
    "DEBUG DIGEST",
    "ZRANGE zset 0 100 BYSCORE WITHSCORES",
    "ZRANGEBYSCORE zset -inf (4 WITHSCORES LIMIT 1 2",
    "ZREVRANGEBYSCORE zset +inf -inf WITHSCORES",
    "ZRANGEBYLEX lex - +",
    "ZREVRANGEBYLEX lex (d - LIMIT 0 2",
    "HRANDFIELD hash 100 WITHVALUES",
    "SRANDMEMBER set 100",
    "ZRANDMEMBER zset 100 WITHSCORES",
    "LPOS list 2",
    "LPOS list 2 RANK -1 COUNT 0",
    "XRANGE events - +",
    "XRANGE events 1-2 + COUNT 1",
    "XREVRANGE events + (1-1",
    "XREAD STREAMS events missing more 1-1 0 0",
    "XREAD COUNT 1 STREAMS events more 0 2-1",
    "GET long",
    "GETEX long",
    "GETRANGE long 3 -2",
];

struct Server {
    engine: Engine,
    id: ClientId,
}

impl Server {
    fn new(elements_min: usize) -> Self {
        // What is small enough to lie within its entry is never long: here nothing does.
        let config = Config {
            hash_max_listpack_entries: 0,
            set_max_listpack_entries: 0,
            set_max_intset_entries: 0,
            ..Config::default()
        };
        let mut engine = new_engine(config, Box::new(ManualClock::new(UnixMillis(1_000_000))), 7);
        engine.config.enable_debug_command = crate::config::Permission::Yes;
        engine.long_reads =
            LongReadLimits { keys_min: elements_min, elements_min, bytes_min: elements_min.max(200) };
        let id = connect(&mut engine);
        let mut server = Self { engine, id };
        for request in FILL {
            server.send(request);
        }
        server.take_output();
        server
    }

    fn send(&mut self, request: &str) -> Executed {
        self.send_as(self.id, request)
    }

    fn send_as(&mut self, id: ClientId, request: &str) -> Executed {
        let args: OwnedArgs = request.split(' ').collect();
        dispatch::execute(&mut self.engine, id, TABLE.lookup(&args.as_args()), &args.as_args())
    }

    fn take_read(&mut self) -> Option<LongRead> {
        let at = self.engine.jobs.iter().position(|job| matches!(job, Job::Read(_)))?;
        match self.engine.jobs.remove(at) {
            Job::Read(read) => Some(read),
            _ => None,
        }
    }

    fn finish(&mut self, read: LongRead) -> Vec<u8> {
        let outcome = (read.run)();
        self.engine.finish_read(read.client, read.command, 1, outcome)
    }

    fn take_output(&mut self) -> Vec<u8> {
        let client = self.engine.clients.get_mut(self.id).unwrap();
        let mut output = std::mem::take(&mut client.long_replies).concat();
        output.append(&mut client.out);
        output
    }
}

fn connect(engine: &mut Engine) -> ClientId {
    let now = engine.now();
    let client = engine.clients.connect(now);
    client.is_authenticated = true;
    client.id
}

#[test]
fn a_read_beside_the_engine_answers_the_same_bytes() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let (mut inline, mut beside) = (Server::new(usize::MAX), Server::new(1));
        for server in [&mut inline, &mut beside] {
            let id = server.id;
            server.engine.clients.get_mut(id).unwrap().protocol = protocol;
        }
        for request in READS {
            assert_eq!(inline.send(request), Executed::Done, "{request}");
            assert_eq!(beside.send(request), Executed::Blocked, "{request}");
            let read = beside.take_read().expect("it is handed out");
            // What happens meanwhile is not seen.
            let other = connect(&mut beside.engine);
            beside.send_as(other, "RENAME string gone");
            beside.send_as(other, "SADD set later");
            beside.finish(read);
            beside.send_as(other, "SREM set later");
            beside.send_as(other, "RENAME gone string");
            let (expected, found) = (inline.take_output(), beside.take_output());
            assert!(!expected.is_empty(), "{request}");
            assert_eq!(String::from_utf8(found), String::from_utf8(expected), "{request}");
            assert!(beside.engine.clients.get(beside.id).unwrap().blocked.is_none(), "{request}");
        }
    }
}

#[test]
fn what_is_short_or_writes_or_is_part_of_a_unit_runs_where_it_stands() {
    let mut server = Server::new(4);
    for request in [
        "LRANGE list 0 2",
        "LRANGE list 0 x",
        "ZRANGE zset 0 3 BYSCORE",
        "ZPOPMIN zset 3",
        "XRANGE events - + COUNT 3",
        "HRANDFIELD hash -3",
        "GETRANGE long 0 20",
        "LPOP list 3",
        "RPUSH list 4 5 6",
        "SORT list STORE sorted",
        "SCAN 0 COUNT 3",
        "HSCAN hash 0",
        "ZSCAN zset 0 COUNT x",
        "SMEMBERS missing",
        "MULTI",
        "KEYS *",
        "SMEMBERS set",
        "EXEC",
        "CLIENT REPLY OFF",
        "KEYS *",
    ] {
        assert_eq!(server.send(request), Executed::Done, "{request}");
    }
}

/// What they take out they answer from what they have taken out.
const REMOVALS: &[&str] = &[
    "LPOP list 3",
    "RPOP list 100",
    "LMPOP 2 missing list RIGHT COUNT 4",
    "BLMPOP 1 1 list LEFT COUNT 4",
    "SPOP set 100",
    "ZPOPMIN zset 3",
    "ZPOPMAX zset 100",
    "ZMPOP 1 zset MAX COUNT 2",
    "BZMPOP 1 1 zset MIN COUNT 100",
    "BLPOP list 0",
    "GETDEL long",
    "GETSET long x",
    "SET long x GET",
];

#[test]
fn what_is_taken_out_is_answered_beside_the_engine() {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        for request in REMOVALS {
            let (mut inline, mut beside) = (Server::new(usize::MAX), Server::new(1));
            for server in [&mut inline, &mut beside] {
                let id = server.id;
                server.engine.clients.get_mut(id).unwrap().protocol = protocol;
            }
            assert_eq!(inline.send(request), Executed::Done, "{request}");
            assert_eq!(beside.send(request), Executed::Blocked, "{request}");
            assert_eq!(beside.take_output(), b"", "{request}");
            let digests = [&inline, &beside].map(|server| digest::of_keyspace(&server.engine.keyspace));
            assert_eq!(digests[0], digests[1], "{request}");
            let read = beside.take_read().expect("it is handed out");
            let other = connect(&mut beside.engine);
            beside.send_as(other, "FLUSHALL");
            beside.finish(read);
            assert_eq!(
                String::from_utf8(beside.take_output()),
                String::from_utf8(inline.take_output()),
                "{request}"
            );
        }
    }
}

#[test]
fn a_pop_of_several_members_leaves_the_others_and_replicas_remove_the_same() {
    // Drawn one by one; taken out together; all but a few of them.
    for (count, expected) in [(2, Executed::Done), (3, Executed::Blocked), (5, Executed::Blocked)] {
        let mut server = Server::new(3);
        let stream = server.engine.role.stream_mut();
        stream.begin_backlog(&mut server.engine.rng);
        let offset = stream.log.end_offset();
        server.engine.refresh_propagation();
        assert_eq!(server.send(&format!("SPOP set {count}")), expected);
        let log = &mut server.engine.role.stream_mut().log;
        let effect = String::from_utf8(log.read_from(offset, usize::MAX).unwrap().concat()).unwrap();
        assert!(effect.contains(&format!("*{}\r\n$4\r\nSREM\r\n$3\r\nset\r\n", count + 2)), "{effect}");
        let other = connect(&mut server.engine);
        let ask = |server: &mut Server, request: &str| {
            server.send_as(other, request);
            String::from_utf8(std::mem::take(&mut server.engine.clients.get_mut(other).unwrap().out)).unwrap()
        };
        assert_eq!(ask(&mut server, "SCARD set"), format!(":{}\r\n", 6 - count));
        if let Some(read) = server.take_read() {
            server.finish(read);
        }
        let popped = String::from_utf8(server.take_output()).unwrap();
        assert!(popped.starts_with(&format!("*{count}\r\n")), "{popped}");
        for member in ["a", "b", "c", "d", "e", "f"] {
            let bulk = format!("$1\r\n{member}\r\n");
            let is_kept = ask(&mut server, &format!("SISMEMBER set {member}")) == ":1\r\n";
            assert_ne!(popped.contains(&bulk), is_kept, "{member}");
            assert_eq!(popped.contains(&bulk), effect.contains(&bulk), "{member}");
        }
    }
}

#[test]
fn who_has_waited_is_answered_at_once_with_all_of_it() {
    let mut server = Server::new(2);
    assert_eq!(server.send("BLMPOP 0 1 queue LEFT COUNT 10"), Executed::Blocked);
    let other = connect(&mut server.engine);
    server.send_as(other, "RPUSH queue 1 2 3");
    assert!(server.take_read().is_none());
    assert_eq!(server.take_output(), b"*2\r\n$5\r\nqueue\r\n*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    assert!(server.engine.clients.get(server.id).unwrap().blocked.is_none());
}

#[test]
fn messages_that_come_meanwhile_stand_before_the_reply() {
    let mut server = Server::new(1);
    server.send("HELLO 3");
    server.send("SUBSCRIBE news");
    server.take_output();
    server.send("SMEMBERS set");
    let read = server.take_read().unwrap();
    let other = connect(&mut server.engine);
    server.send_as(other, "PUBLISH news first");
    server.finish(read);
    server.send_as(other, "PUBLISH news second");
    let output = String::from_utf8(server.take_output()).unwrap();
    let at = |text| output.find(text).unwrap();
    assert!(at("first") < at("~6") && at("~6") < at("second"), "{output}");
}

#[test]
fn a_client_that_has_gone_reads_nothing() {
    let mut server = Server::new(1);
    server.send("KEYS *");
    let read = server.take_read().unwrap();
    server.engine.clients.close(server.id, Closing::Now);
    dispatch::disconnect(&mut server.engine, server.id);
    assert!(!server.engine.waits_for_read(server.id));
    assert!(!server.finish(read).is_empty(), "the reply is given back to be freed");
    assert_eq!(server.engine.blocked.len, 0);
}

#[test]
fn what_has_expired_is_not_read() {
    let mut server = Server::new(1);
    server.send("PEXPIREAT string 1");
    server.send("PEXPIREAT set 1");
    server.send("KEYS s*");
    server.take_output();
    if let Some(read) = server.take_read() {
        server.finish(read);
    }
    assert_eq!(server.take_output(), b"*0\r\n");
    assert_eq!(server.send("SMEMBERS set"), Executed::Done);
    assert_eq!(server.take_output(), b"*0\r\n");
}

#[test]
fn statistics_count_a_read_once() {
    let (mut inline, mut beside) = (Server::new(usize::MAX), Server::new(1));
    for request in ["SMEMBERS set", "SMEMBERS hash", "SUNION set other missing"] {
        inline.send(request);
        beside.send(request);
        let read = beside.take_read().unwrap();
        beside.finish(read);
    }
    let figures = |engine: &Engine| {
        let commands = engine.stats.commands.iter();
        let counts: Vec<(u64, u64)> = commands.map(|row| (row.calls, row.failed)).collect();
        (
            engine.stats.keyspace_hits + engine.upkeep.hits,
            engine.stats.keyspace_misses + engine.upkeep.misses,
            counts,
        )
    };
    assert_eq!(figures(&beside.engine), figures(&inline.engine));
}
