//! Clients of the master: versions that grow, and WAIT; and anything else that changes data.

use russet::base::clock::UnixMillis;
use russet::command::Executed;
use russet::engine::{ClientId, Engine};
use russet::storage::LiveDb;
use russet::storage::live::{AccessPolicy, ExpiryPolicy, Upkeep, View};

use crate::network::Network;
use crate::node::Node;

pub const VERSIONED_KEYS: usize = 8;

/// A write whose WAIT has not been answered yet.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    pub key: usize,
    pub version: u64,
}

pub struct Writer {
    pub client: ClientId,
    pub waiting: Option<Write>,
}

impl Writer {
    pub fn new(node: &mut Node) -> Self {
        Self { client: node.local_client(), waiting: None }
    }

    /// Writes a version and waits for replicas.
    pub fn write_and_wait(
        &mut self,
        write: Write,
        node: &mut Node,
        network: &mut Network,
        rng: &mut fastrand::Rng,
    ) {
        let (key, version) = (key_name(write.key), write.version.to_string());
        node.run(self.client, &["SET", &key, &version], network);
        if node.take_reply(self.client).is_none_or(|reply| reply != b"+OK\r\n") {
            return;
        }
        let timeout_ms = rng.u64(50..3000).to_string();
        let executed = node.run(
            self.client,
            &["WAIT", rng.choice(["1", "2", "2"]).expect("some"), &timeout_ms],
            network,
        );
        assert_ne!(executed, Executed::Postponed, "nobody pauses");
        self.waiting = Some(write);
    }

    /// The answer of WAIT: the write, and how many replicas are said to have it.
    pub fn answer(&mut self, node: &mut Node) -> Option<(Write, u64)> {
        let write = self.waiting?;
        if node.is_blocked(self.client) {
            return None;
        }
        self.waiting = None;
        let reply = node.take_reply(self.client)?;
        let text = std::str::from_utf8(&reply).expect("replies to WAIT are text");
        let count = text.strip_prefix(':')?.trim_end().parse().expect("a number");
        Some((write, count))
    }
}

/// One random change to keys that nobody waits for.
pub fn disturb(client: ClientId, node: &mut Node, network: &mut Network, rng: &mut fastrand::Rng) {
    let key = format!(
        "{}:{}",
        rng.choice(["str", "list", "set", "hash", "num", "stream"]).expect("some"),
        rng.u32(0..12)
    );
    let value = rng.u32(0..1000).to_string();
    let ttl_ms = rng.u32(1..3000).to_string();
    let kind = key.split(':').next().expect("a key has a kind");
    let requests: Vec<Vec<&str>> = match (kind, rng.u8(0..5)) {
        (_, 0) => vec![vec!["DEL", &key]],
        (_, 1) => vec![vec!["PEXPIRE", &key, &ttl_ms]],
        ("str", 2) => vec![vec!["SET", &key, &value, "PX", &ttl_ms]],
        ("str", 3) => vec![vec!["SELECT", "3"], vec!["APPEND", &key, &value], vec!["SELECT", "0"]],
        ("str", _) => vec![vec!["APPEND", &key, &value]],
        ("list", 2) => vec![vec!["RPOP", &key]],
        ("list", _) => vec![vec!["RPUSH", &key, &value, "x"]],
        ("set", 2) => vec![vec!["SPOP", &key]],
        ("set", _) => vec![vec!["SADD", &key, &value, "7"]],
        ("stream", 2) => {
            vec![vec!["XTRIM", &key, "MAXLEN", "~", "3"], vec!["XADD", &key, "MAXLEN", "9", "*", "n", &value]]
        }
        ("stream", 3) => vec![
            vec!["XGROUP", "CREATE", &key, "group", "0", "MKSTREAM"],
            vec!["XREADGROUP", "GROUP", "group", "consumer", "COUNT", "2", "STREAMS", &key, ">"],
            vec!["XAUTOCLAIM", &key, "group", "other", "0", "0"],
        ],
        ("stream", _) => vec![vec!["XADD", &key, "*", "n", &value]],
        ("hash", 2) => vec![vec!["HDEL", &key, "a"]],
        ("hash", 3) => vec![
            vec!["HSETEX", &key, "PX", &ttl_ms, "FIELDS", "2", "a", &value, &value, "c"],
            vec!["HINCRBYFLOAT", &key, "a", "0.5"],
            vec!["HPEXPIRE", &key, &ttl_ms, "GT", "FIELDS", "2", "a", "b"],
        ],
        ("hash", _) => vec![vec!["HSET", &key, "a", &value, &value, "b"]],
        (_, 2) => vec![vec!["MULTI"], vec!["INCR", &key], vec!["RPUSH", "list:0", &value], vec!["EXEC"]],
        _ => vec![vec!["INCRBYFLOAT", &key, "0.5"]],
    };
    for request in requests {
        node.run(client, &request, network);
    }
    node.take_reply(client);
}

/// The version of a key that a node's data set holds; 0 for none.
pub fn version_in(engine: &mut Engine, key: usize) -> u64 {
    let limits = engine.limits.clone();
    let view = View {
        now: UnixMillis::default(),
        expiry: ExpiryPolicy::Ignore,
        access: AccessPolicy::Leave,
        limits: &limits,
    };
    let mut upkeep = Upkeep::default();
    let mut rng = fastrand::Rng::with_seed(0);
    let mut db = LiveDb::new(engine.keyspace.db_mut(0), view, &mut rng, &mut upkeep);
    let value = db.peek_string(key_name(key).as_bytes()).expect("versions are strings");
    value.map_or(0, |text| String::from_utf8(text.to_vec()).expect("digits").parse().expect("digits"))
}

fn key_name(key: usize) -> String {
    format!("version:{key}")
}
