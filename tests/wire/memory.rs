//! `maxmemory` against the real allocator, and MIGRATE to real servers.

use russet::resp::reply::write_request;
use russet::resp::value::Value;

use crate::harness::{Client, Server, becomes, bulk, digest, eventually, fill, ok};
use crate::replication::{Make, become_equal, replica_of, start, wait_until_linked};

const MAXMEMORY: u64 = 24 << 20;

/// Sends `SET` for each of the numbers in one go; the replies are OK.
fn set_many(client: &mut Client, numbers: std::ops::Range<u32>, value: &[u8]) {
    let mut requests = Vec::new();
    for n in numbers.clone() {
        write_request(&mut requests, [b"SET", format!("key:{n}").as_bytes(), value].iter());
    }
    client.send_raw(&requests);
    for _ in numbers {
        assert_eq!(client.read(), ok());
    }
}

fn used(client: &mut Client) -> u64 {
    client.info("used_memory").parse().unwrap()
}

fn evicting(policy: &str) -> Server {
    Server::russet(&["--maxmemory", &MAXMEMORY.to_string(), "--maxmemory-policy", policy])
}

#[test]
fn maxmemory_holds_whatever_the_size_of_values() {
    let server = evicting("allkeys-lru");
    let mut client = server.client();
    for (bytes, keys) in [(10, 400_000), (150, 100_000), (1000, 60_000), (60_000, 1500)] {
        let value = vec![b'x'; bytes];
        for from in (0..keys).step_by(500) {
            set_many(&mut client, from..from + 500, &value);
            let used = used(&mut client);
            // What was written last may still be worked off, on a busy machine for a while.
            assert!(used < 2 * MAXMEMORY, "{used} bytes in use, values of {bytes} bytes");
        }
        becomes("memory above the limit", &true, || used(&mut client) <= MAXMEMORY + (64 << 10));
        let keys_bytes = client.integer("DBSIZE") as u64 * (bytes as u64 + 10);
        assert!(keys_bytes > MAXMEMORY / 4, "{keys_bytes} bytes of values of {bytes} bytes are left");
    }
    assert!(client.info("evicted_keys").parse::<u64>().unwrap() > 100_000);
}

#[test]
fn a_snapshot_under_writes_evicts_no_more_than_the_writes_need() {
    let server = evicting("allkeys-random");
    let mut client = server.client();
    let value = vec![b'x'; 100];
    let mut keys = 0;
    while used(&mut client) + (1 << 20) < MAXMEMORY {
        set_many(&mut client, keys..keys + 1000, &value);
        keys += 1000;
    }
    assert_eq!(client.info("evicted_keys"), "0");
    // While this lasts, every write copies what the snapshot holds.
    assert_eq!(client.call("CONFIG SET rdb-key-save-delay 30"), ok());
    client.call("BGSAVE");
    for from in (0..keys).step_by(1000) {
        set_many(&mut client, from..from + 1000, &value);
    }
    assert_eq!(client.info("rdb_bgsave_in_progress"), "1");
    let evicted = client.info("evicted_keys").parse::<u32>().unwrap();
    assert!(evicted < keys / 10, "{evicted} of {keys} keys evicted");
    client.call("CONFIG SET rdb-key-save-delay 0");
}

#[test]
fn replicas_follow_evictions() {
    for of_replica in [Make::Russet, Make::Redis] {
        let master = evicting("allkeys-lfu");
        let mut client = master.client();
        let replica = replica_of(of_replica, master.port);
        let mut reader = replica.client();
        wait_until_linked(&mut reader);
        for from in (0..200_000).step_by(1000) {
            set_many(&mut client, from..from + 1000, &[b'x'; 150]);
        }
        assert_ne!(client.info("evicted_keys"), "0");
        // Or acknowledgements, which take memory too, would evict between one look and the other.
        assert_eq!(client.call("CONFIG SET maxmemory 0"), ok());
        // Digests of many keys, asked for without a pause, would keep the replica from what it has yet to apply.
        let offset: u64 = client.info("master_repl_offset").parse().unwrap();
        eventually("the replica has all", || {
            reader.info("slave_repl_offset").parse::<u64>().unwrap() >= offset
        });
        become_equal(&mut client, &mut reader);
    }
}

#[test]
fn a_lower_limit_is_reached_without_another_command() {
    let server = evicting("volatile-ttl");
    let mut client = server.client();
    for n in 0..20_000 {
        client.send_raw(format!("SET key:{n} {} EX 1000\r\n", "x".repeat(500)).as_bytes());
    }
    for _ in 0..20_000 {
        assert_eq!(client.read(), ok());
    }
    let limit = used(&mut client) - (4 << 20);
    assert_eq!(client.call(&format!("CONFIG SET maxmemory {limit}")), ok());
    let mut watcher = server.client();
    becomes("memory above the limit", &true, || used(&mut watcher) <= limit + (64 << 10));
}

/// Moves everything and compares.
#[track_caller]
fn migrates(from: Make, to: Make) {
    let (source, target) = (start(from, &[]), start(to, &[]));
    let (mut sender, mut receiver) = (source.client(), target.client());
    fill(&mut sender, 400);
    let before = digest(&mut sender);
    let port = target.port.to_string();
    for db in ["0", "3"] {
        sender.call(&format!("SELECT {db}"));
        let Value::Array(keys) = sender.call("KEYS *") else { panic!("KEYS answers an array") };
        let words = ["MIGRATE", "127.0.0.1", &port, "", db, "5000", "KEYS"];
        let mut request: Vec<Vec<u8>> = words.map(|word| word.as_bytes().to_vec()).to_vec();
        for key in keys {
            let Value::Bulk(key) = key else { panic!("a key is a string") };
            request.push(key);
        }
        assert_eq!(sender.call_args(&request), ok());
        assert_eq!(sender.integer("DBSIZE"), 0);
    }
    assert_eq!(digest(&mut receiver), before);
}

#[test]
fn keys_migrate_between_all_makes() {
    migrates(Make::Russet, Make::Redis);
    migrates(Make::Russet, Make::Russet);
    migrates(Make::Redis, Make::Russet);
}

#[test]
fn a_migration_that_nobody_takes_leaves_everything() {
    let server = Server::russet(&[]);
    let mut client = server.client();
    client.call("SET k v");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let reply = client.text(&format!("MIGRATE 127.0.0.1 {port} k 0 100"));
    assert!(reply.contains("IOERR error or timeout reading"), "{reply}");
    drop(silent);
    let reply = client.text(&format!("MIGRATE 127.0.0.1 {port} k 0 100"));
    assert!(reply.contains("IOERR error or timeout writing"), "{reply}");
    assert_eq!(client.call("GET k"), bulk("v"));
    assert_eq!(client.info("migrate_cached_sockets"), "0");
}

/// What a client's connection keeps to write replies into, in bytes.
fn reply_buffer(client: &mut Client, name: &str) -> usize {
    let list = client.text("CLIENT LIST");
    let line =
        list.lines().find(|line| line.contains(&format!("name={name} "))).expect("the client is listed");
    let field = line.split(' ').find_map(|field| field.strip_prefix("rbs=")).expect("the field is there");
    field.parse().unwrap()
}

#[test]
fn a_connection_gives_a_large_reply_buffer_back_once_its_replies_are_small() {
    let server = Server::russet(&[]);
    let (mut client, mut other) = (server.client(), server.client());
    assert_eq!(client.call("CLIENT SETNAME reader"), ok());
    set_many(&mut client, 0..1, &[b'x'; 20_000]);
    for _ in 0..4 {
        client.call("GET key:0");
    }
    assert!(reply_buffer(&mut other, "reader") >= 20_000);
    for _ in 0..100 {
        client.call("PING");
    }
    assert!(reply_buffer(&mut other, "reader") <= 1024);
}

/// The buffer of the master's stream once kept what the largest value had needed.
#[test]
fn a_replica_keeps_no_more_than_its_master_once_a_large_value_has_arrived() {
    let master = Server::russet(&["--repl-ping-replica-period", "1"]);
    let mut writer = master.client();
    let replica = replica_of(Make::Russet, master.port);
    let mut reader = replica.client();
    wait_until_linked(&mut reader);
    set_many(&mut writer, 0..1, &[b'x'; 32 << 20]);
    become_equal(&mut writer, &mut reader);
    becomes("the replica's memory", &true, || used(&mut reader) <= used(&mut writer) + (10 << 20));
}

/// Kilobytes of a server that are resident, and of those in huge pages, as the system tells.
fn resident_kb(server: &Server) -> (u64, u64) {
    let maps = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", server.pid())).expect("it runs");
    let field = |name: &str| {
        let line = maps.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel counts them");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    (field("Rss:"), field("AnonHugePages:"))
}

#[test]
fn what_a_server_grows_by_is_in_huge_pages_unless_they_are_not_wanted() {
    let modes = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let has_some = modes.contains("[madvise]") || modes.contains("[always]");
    for (wants, gets) in [("no", has_some), ("yes", false)] {
        let server = Server::russet(&["--disable-thp", wants]);
        let mut client = server.client();
        client.call("SET key value");
        let (resident, in_huge_pages) = resident_kb(&server);
        assert!(resident < 24 << 10 && in_huge_pages == 0, "a small server has {resident} kB");
        let mut keys = 0;
        becomes("there are huge pages", &gets, || {
            set_many(&mut client, keys..keys + 40_000, &[b'x'; 500]);
            keys += 40_000;
            resident_kb(&server).1 > 0
        });
        if !gets {
            set_many(&mut client, keys..keys + 160_000, &[b'x'; 500]);
            assert_eq!(resident_kb(&server).1, 0);
        }
    }
}
