//! The append-only file: kept over kills, exchanged with Redis, rewritten, switched on and off, cut where it is broken.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use russet::resp::value::Value;
use tempfile::TempDir;

use crate::harness::{Client, Server, becomes, bulk, digest, eventually, fill, free_port, ok};

const FOLDER: &str = "appendonlydir";

/// Keys with expiries that differ from run to run are none of the data set's, so that digests can be compared.
fn fill_all(client: &mut Client) {
    fill(client, 1500);
    for i in 0..200 {
        client.call_args(&["ZADD", "scores", &format!("{}.25", i * 7 % 101), &format!("member {i}")]);
    }
    client.call("MULTI");
    client.call("SET in:multi 1");
    client.call("INCRBYFLOAT in:multi 0.5");
    client.call("EXEC");
    client.call_args(&["EVAL", "redis.call('SET', KEYS[1], 'by a script')", "1", "scripted"]);
    client.call("SADD popped 1 2 3 4 5 6");
    client.call("SPOP popped 3");
}

fn folder_with_aof(from: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&from.join(FOLDER), &folder.path().join(FOLDER));
    folder
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn manifest(server: &Server) -> String {
    let path = server.folder().join(FOLDER).join("appendonly.aof.manifest");
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The names of the parts that the manifest lists.
fn parts(server: &Server) -> Vec<String> {
    manifest(server).lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

fn last_incr(server: &Server) -> PathBuf {
    server.folder().join(FOLDER).join(parts(server).last().unwrap())
}

fn rewrite(client: &mut Client) {
    let before: u64 = client.info("aof_rewrites").parse().unwrap();
    client.call("BGREWRITEAOF");
    becomes("the rewrite ends", &(before + 1).to_string(), || client.info("aof_rewrites"));
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    for (policy, preamble) in [("always", "yes"), ("everysec", "no")] {
        let args = ["--appendonly", "yes", "--appendfsync", policy, "--aof-use-rdb-preamble", preamble];
        let mut server = Server::russet(&args);
        let mut client = server.client();
        fill_all(&mut client);
        rewrite(&mut client);
        client.call("SET after:rewrite x");
        client.call("SELECT 3");
        client.call("SET in:three x");
        let before = digest(&mut client);
        assert_eq!(client.call("WAITAOF 1 0 0").elements().unwrap()[0].as_integer(), Some(1));
        server.kill();
        server.restart();
        let mut client = server.client();
        assert_eq!(digest(&mut client), before, "{policy} {preamble}");
        // And what is written on behind it.
        client.call("SET again y");
        let before = digest(&mut client);
        client.call("WAITAOF 1 0 0");
        server.restart();
        assert_eq!(digest(&mut server.client()), before, "{policy} {preamble}");
    }
}

#[test]
fn redis_reads_what_russet_wrote_and_russet_what_redis_wrote() {
    for preamble in ["yes", "no"] {
        let args =
            ["--appendonly", "yes", "--aof-use-rdb-preamble", preamble, "--aof-timestamp-enabled", "yes"];
        let ours = Server::russet(&args);
        let mut client = ours.client();
        fill_all(&mut client);
        rewrite(&mut client);
        client.call("SET after:rewrite x");
        client.call("HSET after:hash a b");
        let expected = digest(&mut client);
        client.call("WAITAOF 1 0 0");
        let theirs = Server::redis_in(&args, folder_with_aof(ours.folder()));
        let mut client = theirs.client();
        assert_eq!(digest(&mut client), expected, "{preamble}: redis-server reads another data set");

        client.call("BGREWRITEAOF");
        becomes("it ends", &"0".to_owned(), || client.info("aof_rewrite_in_progress"));
        client.call("RPUSH after:theirs a b c");
        let expected = digest(&mut client);
        eventually("it is written", || {
            let incr = last_incr(&theirs);
            std::fs::read(incr).is_ok_and(|text| text.windows(12).any(|window| window == b"after:theirs"))
        });
        let again = Server::russet_in(&args, folder_with_aof(theirs.folder()));
        let mut client = again.client();
        assert_eq!(digest(&mut client), expected, "{preamble}: russet reads another data set");
        // Those of the RDB file alone, which are all that it counts.
        assert_eq!(client.info("rdb_last_load_keys_loaded") != "0", preamble == "yes");
    }
}

#[test]
fn the_file_is_empty_until_the_first_write_and_selects_its_database_once() {
    let server = Server::russet(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut client = server.client();
    assert_eq!(std::fs::read(last_incr(&server)).unwrap(), b"");
    client.call("SELECT 5");
    client.call("SET a 1");
    client.call("SETEX b 100 2");
    let text = std::fs::read_to_string(last_incr(&server)).unwrap();
    assert!(text.starts_with("*2\r\n$6\r\nSELECT\r\n$1\r\n5\r\n*3\r\n$3\r\nSET\r\n"), "{text}");
    assert!(text.contains("PXAT") && text.matches("SELECT").count() == 1, "{text}");
    rewrite(&mut client);
    client.call("SET c 3");
    let text = std::fs::read_to_string(last_incr(&server)).unwrap();
    assert_eq!(text, "*2\r\n$6\r\nSELECT\r\n$1\r\n5\r\n*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$1\r\n3\r\n");
    assert_eq!(parts(&server), ["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof"]);
    let files = std::fs::read_dir(server.folder().join(FOLDER)).unwrap().count();
    assert_eq!(files, 3, "what was replaced is removed");
}

#[test]
fn what_is_no_effect_leaves_no_time_in_the_file() {
    let args = ["--appendonly", "yes", "--appendfsync", "always", "--aof-timestamp-enabled", "yes"];
    let server = Server::russet(&args);
    let mut client = server.client();
    client.call("SET a 1");
    let written = Instant::now();
    while written.elapsed() < Duration::from_millis(1100) {
        // Asks replicas, of which there are none, for an acknowledgement.
        client.call("WAITAOF 1 1 50");
    }
    let text = std::fs::read_to_string(last_incr(&server)).unwrap();
    assert!(text.starts_with("#TS:") && text.matches("#TS:").count() == 1, "{text}");
    client.call("SET a 2");
    let text = std::fs::read_to_string(last_incr(&server)).unwrap();
    assert_eq!(text.matches("#TS:").count(), 2, "{text}");
}

#[test]
fn it_is_switched_on_and_off_while_clients_write() {
    let mut server = Server::russet(&[]);
    let mut client = server.client();
    fill_all(&mut client);
    assert_eq!(client.call("CONFIG SET appendonly yes"), ok());
    client.call("SET during x");
    becomes("the first base is there", &"1".to_owned(), || client.info("aof_rewrites"));
    client.call("SET after x");
    assert_eq!(client.call("WAITAOF 1 0 0").elements().unwrap()[0].as_integer(), Some(1));
    let with_aof = digest(&mut client);
    assert_eq!(client.call("DEBUG LOADAOF"), ok());
    assert_eq!(digest(&mut client), with_aof);
    assert_eq!(client.call("CONFIG SET appendonly no"), ok());
    client.call("SET without x");
    assert_eq!(client.info("aof_enabled"), "0");
    assert!(client.call("WAITAOF 1 0 0").is_error());
    server.kill();
    let again = Server::russet_in(&["--appendonly", "yes"], folder_with_aof(server.folder()));
    assert_eq!(digest(&mut again.client()), with_aof);
}

/// Writes what depends on the order of all writers, in pipelines, until it is told to stop.
fn write_pipelines(port: u16, seed: u64, is_over: &AtomicBool) {
    let mut client = Client::connect(port);
    let mut rng = fastrand::Rng::with_seed(seed);
    while !is_over.load(Ordering::Relaxed) {
        let mut requests = Vec::new();
        for _ in 0..PIPELINE {
            let (key, text) = (rng.u32(..500), rng.u64(..));
            let line = match rng.u32(..8) {
                0 => format!("SET string:{key} {text}"),
                1 => format!("APPEND string:{key} {text}"),
                2 => format!("RPUSH list:{key} {text}"),
                3 => format!("LPOP list:{key}"),
                4 => format!("ZINCRBY sorted:{key} {} {}", text % 100, key % 7),
                5 => format!("SPOP set:{key}"),
                6 => format!("SADD set:{key} {text} {seed}"),
                _ => format!("DEL string:{key} list:{key}"),
            };
            requests.extend_from_slice(format!("{line}\r\n").as_bytes());
        }
        client.send_raw(&requests);
        for _ in 0..PIPELINE {
            let reply = client.read();
            assert!(!reply.is_error(), "{reply:?}");
        }
    }
}

const PIPELINE: usize = 64;

/// What Redis' suite tries with a load generator of its own (integration/aof-race).
#[test]
fn it_is_switched_on_and_rewritten_while_clients_write_in_pipelines() {
    let mut server = Server::russet(&["--auto-aof-rewrite-percentage", "0"]);
    let mut client = server.client();
    let is_over = AtomicBool::new(false);
    let digest_before = std::thread::scope(|scope| {
        let writers = [1, 2, 3].map(|seed| {
            let (port, is_over) = (server.port, &is_over);
            scope.spawn(move || write_pipelines(port, seed, is_over))
        });
        let commands = |client: &mut Client| client.info("total_commands_processed").parse::<u64>().unwrap();
        let wait_for_writes = |client: &mut Client| {
            let before = commands(client);
            eventually("they write", || commands(client) > before + 20_000);
        };
        wait_for_writes(&mut client);
        assert_eq!(client.call("CONFIG SET appendonly yes"), ok());
        for rewrites in 1..=4 {
            becomes("a base is there", &rewrites.to_string(), || client.info("aof_rewrites"));
            wait_for_writes(&mut client);
            if rewrites < 4 {
                client.call("BGREWRITEAOF");
            }
        }
        is_over.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        digest(&mut client)
    });
    assert_eq!(client.call("DEBUG LOADAOF"), ok());
    assert_eq!(digest(&mut client), digest_before);
    assert_eq!(client.call("WAITAOF 1 0 0").elements().unwrap()[0].as_integer(), Some(1));
    server.kill();
    let again = Server::russet_in(&["--appendonly", "yes"], folder_with_aof(server.folder()));
    assert_eq!(digest(&mut again.client()), digest_before);
    // A real server reads the same out of it.
    let theirs = Server::redis_in(&["--appendonly", "yes"], folder_with_aof(server.folder()));
    assert_eq!(digest(&mut theirs.client()), digest_before);
}

#[test]
fn it_is_not_switched_on_where_there_can_be_no_file() {
    let server = Server::russet(&[]);
    let mut client = server.client();
    // A file stands where the folder is to be.
    std::fs::write(server.folder().join(FOLDER), b"").unwrap();
    assert_eq!(
        client.text("CONFIG SET appendonly yes"),
        "ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to turn on AOF. Check server logs."
    );
    assert_eq!(client.call("CONFIG GET appendonly").elements().unwrap()[1], bulk("no"));
    assert_eq!(client.info("aof_enabled"), "0");
    std::fs::remove_file(server.folder().join(FOLDER)).unwrap();
    assert_eq!(client.call("CONFIG SET appendonly yes"), ok());
    // With the reply there is something to write into, though the first base may still be on its way.
    assert!(std::fs::read_dir(server.folder().join(FOLDER)).unwrap().count() > 0);
}

#[test]
fn a_reply_is_sent_when_its_effect_is_written() {
    for policy in ["everysec", "no"] {
        let server = Server::russet(&["--appendonly", "yes", "--appendfsync", policy]);
        let mut client = server.client();
        let incr = last_incr(&server);
        for i in 0..200 {
            let value = format!("value:{i}");
            client.call_args(&["SET", "key", &value]);
            let text = std::fs::read(&incr).unwrap();
            let is_there = text.windows(value.len()).any(|window| window == value.as_bytes());
            // Unless an fsync was under way, which nobody waits for.
            assert!(is_there || policy == "everysec" && i > 0 && text.len() > 30 * i, "{policy}: {value}");
        }
    }
}

#[test]
fn what_a_writable_replica_changes_itself_is_in_its_file() {
    let master = Server::russet(&[]);
    let mut of_master = master.client();
    let address = format!("127.0.0.1 {}", master.port);
    let args = [
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--replica-read-only",
        "no",
        "--replicaof",
        &address,
    ];
    let mut replica = Server::russet(&args);
    let mut client = replica.client();
    becomes("the replica is in sync", &"up".to_owned(), || client.info("master_link_status"));
    becomes("its file is there", &"1".to_owned(), || client.info("aof_rewrites"));
    of_master.call("SET from:master 1");
    client.call("SELECT 3");
    client.call("SET own 1");
    client.call("MULTI");
    client.call("INCR own");
    client.call("RPUSH list a b");
    client.call("EXEC");
    client.call("SET short x PX 30");
    of_master.call("SET from:master 2");
    becomes("it expires", &0, || client.integer("DBSIZE") - 2);
    client.call("SET own:last x");
    of_master.call("INCR counter");
    becomes("the master's is there", &2, || {
        client.call("SELECT 0");
        client.integer("DBSIZE")
    });
    assert_eq!(of_master.integer("DBSIZE"), 2, "the master has nothing of it");
    let expected = digest(&mut client);
    replica.kill();
    let alone = Server::russet_in(&["--appendonly", "yes"], folder_with_aof(replica.folder()));
    let mut client = alone.client();
    assert_eq!(digest(&mut client), expected);
    client.call("SELECT 3");
    assert_eq!((client.call("GET own"), client.integer("DBSIZE")), (bulk("2"), 3));
    assert!(std::fs::read(last_incr(&alone)).unwrap().windows(3).any(|window| window == b"DEL"));
}

#[test]
fn a_rewrite_and_a_save_run_side_by_side() {
    let server = Server::russet(&["--appendonly", "yes", "--rdb-key-save-delay", "500"]);
    let mut client = server.client();
    fill(&mut client, 1000);
    assert_eq!(client.text("BGSAVE"), "Background saving started");
    assert_eq!(client.text("BGREWRITEAOF"), "Background append only file rewriting started");
    assert_eq!(client.info("rdb_bgsave_in_progress"), "1");
    assert_eq!(client.info("aof_rewrite_in_progress"), "1");
    assert!(client.call("BGREWRITEAOF").is_error());
    becomes("the rewrite ends", &"1".to_owned(), || client.info("aof_rewrites"));
    becomes("the save ends", &"1".to_owned(), || client.info("rdb_saves"));
}

#[test]
fn it_is_rewritten_when_it_has_grown() {
    let args = ["--appendonly", "yes", "--auto-aof-rewrite-min-size", "16kb"];
    let server = Server::russet(&args);
    let mut client = server.client();
    for i in 0..2000 {
        client.call_args(&["SET", "key", &format!("{i:0100}")]);
    }
    eventually("it is rewritten", || client.info("aof_rewrites") != "0");
    assert!(server.log().contains("Starting automatic rewriting of AOF on"));
}

fn write_aof(folder: &Path, text: &[u8]) -> PathBuf {
    let dir = folder.join(FOLDER);
    std::fs::create_dir(&dir).unwrap();
    let manifest = "file appendonly.aof.1.incr.aof seq 1 type i\n";
    std::fs::write(dir.join("appendonly.aof.manifest"), manifest).unwrap();
    let path = dir.join("appendonly.aof.1.incr.aof");
    std::fs::write(&path, text).unwrap();
    path
}

const WHOLE: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n2\r\n*1\r\n$4\r\nEXEC\r\n";

#[test]
fn an_end_that_is_missing_is_cut_off_with_its_open_transaction() {
    for cut in [1, 3, MULTI.len() / 2, MULTI.len() - 1] {
        let folder = tempfile::tempdir().unwrap();
        let path = write_aof(folder.path(), &[WHOLE, &MULTI[..cut]].concat());
        let server = Server::russet_in(&["--appendonly", "yes"], folder);
        let mut client = server.client();
        assert_eq!(client.integer("DBSIZE"), 1, "cut at {cut}");
        assert!(server.log().contains("Truncating the AOF"), "cut at {cut}");
        assert_eq!(std::fs::read(path).unwrap(), WHOLE);
    }
}

#[test]
fn an_end_of_zeros_is_cut_off_as_one_that_is_missing() {
    // What a machine that lost power may leave of bytes that were not forced to disk.
    for kept in [0, 4, MULTI.len() - 1] {
        let folder = tempfile::tempdir().unwrap();
        let path = write_aof(folder.path(), &[WHOLE, &MULTI[..kept], &[0; 5000]].concat());
        let said = refused(folder.path(), &["--aof-load-truncated", "no"]);
        assert!(said.contains("Unexpected end of file"), "{said}");
        assert!(said.contains(&format!("whole up to offset {}", WHOLE.len())), "{said}");
        let (is_valid, said) = check(&[], &path);
        assert!(!is_valid && said.contains("nothing but zeros at the end"), "{said}");
        let server = Server::russet_in(&["--appendonly", "yes"], folder);
        assert_eq!(server.client().integer("DBSIZE"), 1, "{kept} bytes before the zeros");
        assert_eq!(std::fs::read(path).unwrap(), WHOLE);
    }
}

/// Runs our server in a folder that it cannot use; what it says.
fn refused(folder: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_russet"))
        .args(["--port", &free_port().to_string(), "--appendonly", "yes", "--dir"])
        .arg(folder)
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

#[test]
fn damage_is_refused_with_file_and_offset() {
    let middle = [WHOLE, b"!!!", WHOLE].concat();
    let cut_argument = [WHOLE, b"*2\r\n$3\r\nSET\r\n$1\r\na\r\n"].concat();
    let cases: [(&[u8], &[&str], &[&str]); 4] = [
        (&middle, &[], &["Bad file format", "appendonly.aof.1.incr.aof", &format!("offset {}", WHOLE.len())]),
        (&MULTI[..40], &["--aof-load-truncated", "no"], &["Unexpected end of file", "offset 0"]),
        (b"*1\r\n$3\r\nbla\r\n", &[], &["Unknown command 'bla' reading the append only file"]),
        // Redis runs it, and reads what is not there.
        (&cut_argument, &[], &["Wrong number of arguments for 'SET'", &format!("offset {}", WHOLE.len())]),
    ];
    for (text, args, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = write_aof(folder.path(), text);
        let said = refused(folder.path(), args);
        for word in expected {
            assert!(said.contains(word), "{word} is not said: {said}");
        }
        assert_eq!(std::fs::read(path).unwrap(), text, "it is as it was");
    }
}

fn check(args: &[&str], path: &Path) -> (bool, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_russet")).arg("check").args(args).arg(path).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn check_finds_damage_and_repairs_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_aof(folder.path(), &[WHOLE, &MULTI[..20]].concat());
    let manifest = folder.path().join(FOLDER).join("appendonly.aof.manifest");
    for path in [&path, &manifest] {
        let (is_valid, said) = check(&[], path);
        assert!(!is_valid && said.contains("not valid") && said.contains("offset 27"), "{said}");
    }
    let (is_valid, said) = check(&["--fix"], &manifest);
    assert!(is_valid, "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), WHOLE);
    assert!(check(&[], &manifest).0);
    let server = Server::russet(&[]);
    let mut client = server.client();
    fill(&mut client, 200);
    client.call("SAVE");
    let (is_valid, said) = check(&[], &server.dump());
    assert!(is_valid && said.contains("keys"), "{said}");
    let mut bytes = std::fs::read(server.dump()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(folder.path().join("x.rdb"), bytes).unwrap();
    assert!(!check(&[], &folder.path().join("x.rdb")).0);
    assert!(check(&["--help"], Path::new("x")).1.contains("--fix"));
}

#[test]
fn check_repairs_nothing_but_an_end_and_says_of_a_file_what_the_server_would() {
    let unknown = "*1\r\n$7\r\nNOTHING\r\n".as_bytes();
    let too_short = "*1\r\n$3\r\nSET\r\n".as_bytes();
    for (damage, expected) in [
        (b"garbage\r\n" as &[u8], "expected a command"),
        (unknown, "Unknown command"),
        (too_short, "Wrong number"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let text = [WHOLE, damage, WHOLE].concat();
        let path = write_aof(folder.path(), &text);
        for args in [&[] as &[&str], &["--fix"]] {
            let (is_valid, said) = check(args, &path);
            assert!(!is_valid && said.contains(expected) && said.contains("offset 27"), "{said}");
            assert_eq!(std::fs::read(&path).unwrap(), text, "it is as it was");
        }
        assert!(refused(folder.path(), &[]).contains("offset 27"));
    }

    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("dump.rdb");
    std::fs::write(&snapshot, "").unwrap();
    let (is_valid, said) = check(&[], &snapshot);
    assert!(!is_valid && said.contains("empty"), "{said}");
    let server = Server::russet(&[]);
    let mut client = server.client();
    fill(&mut client, 20);
    client.call("SAVE");
    let bytes = std::fs::read(server.dump()).unwrap();
    std::fs::write(&snapshot, [&bytes[..], b"and more"].concat()).unwrap();
    let (is_valid, said) = check(&[], &snapshot);
    assert!(is_valid && said.contains("8 bytes behind its end"), "{said}");
    let again = Server::russet(&["--dir", folder.path().to_str().unwrap()]);
    assert_eq!(digest(&mut again.client()), digest(&mut client));
}

#[test]
fn an_old_file_of_one_part_becomes_the_base() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("appendonly.aof"), [WHOLE, MULTI].concat()).unwrap();
    let mut server = Server::russet_in(&["--appendonly", "yes"], folder);
    let mut client = server.client();
    assert_eq!((client.call("GET a"), client.call("GET b")), (bulk("1"), bulk("2")));
    client.call("SET c 3");
    client.call("WAITAOF 1 0 0");
    assert_eq!(parts(&server), ["appendonly.aof", "appendonly.aof.1.incr.aof"]);
    assert!(!server.folder().join("appendonly.aof").exists());
    server.restart();
    let mut client = server.client();
    assert_eq!(client.integer("DBSIZE"), 3);
    rewrite(&mut client);
    assert_eq!(parts(&server), ["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof"]);
}

#[test]
fn a_replica_has_a_file_of_its_own() {
    let master = Server::russet(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut client = master.client();
    fill_all(&mut client);
    let replica_args = ["--appendonly", "yes", "--replicaof", &format!("127.0.0.1 {}", master.port)];
    let mut replica = Server::russet(&replica_args);
    becomes("the replica is in sync", &"up".to_owned(), || replica.client().info("master_link_status"));
    becomes("its file is there", &"1".to_owned(), || replica.client().info("aof_rewrites"));
    client.call("SELECT 7");
    client.call("SET on:both x");
    let acknowledged = client.call("WAITAOF 1 1 0");
    let numbers: Vec<Option<i64>> =
        acknowledged.elements().unwrap().iter().map(russet::resp::value::Value::as_integer).collect();
    assert_eq!(numbers, [Some(1), Some(1)]);
    let expected = digest(&mut client);
    becomes("the replica has it", &expected, || digest(&mut replica.client()));
    replica.kill();
    let alone = Server::russet_in(&["--appendonly", "yes"], folder_with_aof(replica.folder()));
    assert_eq!(digest(&mut alone.client()), expected, "the replica's file has what the master has");
}

#[test]
fn a_snapshot_does_not_count_where_there_is_to_be_a_file() {
    // As in Redis: the first start with appendonly begins with nothing.
    let server = Server::russet(&[]);
    let mut client = server.client();
    client.call("SET a 1");
    client.call("SAVE");
    let other = Server::russet_with_dump(&["--appendonly", "yes"], &server.dump());
    assert_eq!(other.client().integer("DBSIZE"), 0);
    let theirs = Server::redis_with_dump(&["--appendonly", "yes"], &server.dump());
    assert_eq!(theirs.client().integer("DBSIZE"), 0);
}

#[test]
fn switched_on_inside_a_transaction_it_has_what_that_did_once() {
    // The base held what the transaction had done so far, and the stream told it again behind the base.
    let mut server = Server::russet(&["--repl-diskless-sync-delay", "0"]);
    let replica = Server::russet(&["--replicaof", "127.0.0.1", &server.port.to_string()]);
    let mut client = server.client();
    eventually("the log is kept", || client.info("slave0").contains("state=online"));
    client.call("MULTI");
    client.call("INCR counter");
    client.call("CONFIG SET appendonly yes");
    client.call("INCR counter");
    client.call("EXEC");
    eventually("the first base is there", || {
        client.info("aof_rewrite_scheduled") == "0"
            && client.info("aof_rewrite_in_progress") == "0"
            && client.info("aof_enabled") == "1"
    });
    client.call("INCR counter");
    assert_eq!(client.call("WAITAOF 1 0 10000").elements().unwrap()[0].as_integer(), Some(1));
    becomes("the replica has all", &bulk("3"), || replica.client().call("GET counter"));
    server.kill();
    let folder = folder_with_aof(server.folder());
    let again = Server::russet_in(&["--appendonly", "yes"], folder);
    assert_eq!(again.client().call("GET counter"), bulk("3"));
}

#[test]
fn a_script_chooses_who_is_told_what_it_writes() {
    let master = Server::russet(&["--appendonly", "yes", "--appendfsync", "always"]);
    let replica = Server::russet(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let (mut client, mut of_replica) = (master.client(), replica.client());
    becomes("the link is up", &"up".to_owned(), || of_replica.info("master_link_status"));
    for db in ["SELECT 0", "SELECT 3"] {
        client.call(db);
        of_replica.call(db);
        let script = "redis.call('SET', 'all', 1) redis.set_repl(redis.REPL_NONE) redis.call('SET', 'none', 1) \
                      redis.set_repl(redis.REPL_AOF) redis.call('SET', 'file', 1) redis.call('INCR', 'file') \
                      redis.set_repl(redis.REPL_REPLICA) redis.call('SET', 'replica', 1) redis.call('INCR', 'replica') \
                      redis.set_repl(redis.REPL_ALL) redis.call('SET', 'end', 1)";
        client.call_args(&["EVAL", script, "0"]);
        // All that it writes is for the file alone.
        let script = "redis.set_repl(redis.REPL_AOF) redis.call('SET', 'alone', 1)";
        client.call_args(&["EVAL", script, "0"]);
        becomes("the replica is there", &bulk("1"), || of_replica.call("GET end"));
        let keys = "MGET all none file replica alone";
        let told = |values: [Option<&str>; 5]| {
            Value::Array(values.map(|v| v.map_or(Value::NullBulk, bulk)).to_vec())
        };
        assert_eq!(client.call(keys), told([Some("1"), Some("1"), Some("2"), Some("2"), Some("1")]));
        assert_eq!(of_replica.call(keys), told([Some("1"), None, None, Some("2"), None]));
        client.call("SET last 1");
        let folder = folder_with_aof(master.folder());
        let again = Server::russet_in(&["--appendonly", "yes"], folder);
        let mut reader = again.client();
        reader.call(db);
        assert_eq!(reader.call(keys), told([Some("1"), None, Some("2"), None, Some("1")]));
    }
}

#[test]
fn what_is_published_is_in_no_file() {
    let always = ["--appendonly", "yes", "--appendfsync", "always"];
    let master = Server::russet(&always);
    let address = format!("127.0.0.1 {}", master.port);
    let replica = Server::russet(&[&always[..], &["--replicaof", &address]].concat());
    let (mut client, mut of_replica) = (master.client(), replica.client());
    becomes("the replica's file is there", &"1".to_owned(), || of_replica.info("aof_rewrites"));
    let mut subscriber = replica.client();
    subscriber.call("SUBSCRIBE news");
    client.call("SET key x");
    client.call("PUBLISH news alone");
    client.call("SPUBLISH shard alone");
    client.call("MULTI");
    client.call("PUBLISH news queued");
    client.call("SET in:transaction x");
    client.call("EXEC");
    client.call_args(&[
        "EVAL",
        "redis.call('PUBLISH', 'news', 'scripted') redis.call('SET', 'scripted', 'x')",
        "0",
    ]);
    assert_eq!(client.call("SET last x"), ok());
    becomes("the replica is there", &bulk("x"), || of_replica.call("GET last"));
    of_replica.call("PUBLISH news own");
    for (server, client) in [(&master, &mut client), (&replica, &mut of_replica)] {
        let text = std::fs::read_to_string(last_incr(server)).unwrap();
        assert!(!text.contains("PUBLISH") && !text.contains("news"), "{text}");
        assert_eq!(text.matches("SET\r\n").count(), 4, "{text}");
        let again = Server::russet_in(&["--appendonly", "yes"], folder_with_aof(server.folder()));
        assert_eq!(digest(&mut again.client()), digest(client));
    }
    for message in ["alone", "queued", "scripted", "own"] {
        assert_eq!(subscriber.try_read().unwrap().elements().unwrap()[2], bulk(message));
    }
}
