//! The data set in files: kept over restarts, refused when broken, exchanged with Redis.

use std::path::PathBuf;
use std::process::{Child, Command};

use crate::harness::{Client, Server, becomes, bulk, digest, eventually, fill, ok};

#[test]
fn what_was_saved_survives_a_kill() {
    let mut server = Server::russet(&[]);
    let mut client = server.client();
    fill(&mut client, 2000);
    let before = digest(&mut client);
    assert_eq!(client.call("SAVE"), ok());
    client.call("SET unsaved x");
    server.kill();
    server.restart();
    let mut client = server.client();
    assert_eq!(digest(&mut client), before);
    assert_eq!(client.integer("EXISTS unsaved"), 0);
    assert!(client.integer("PTTL 0:2") > 0, "expiries are kept");
}

#[test]
fn a_save_in_the_background_holds_one_instant_while_writes_go_on() {
    let mut server = Server::russet(&[]);
    let mut client = server.client();
    fill(&mut client, 4000);
    let before = digest(&mut client);
    assert_eq!(client.text("BGSAVE"), "Background saving started");
    for i in 0..2000 {
        client.call(&format!("SET later:{i} x"));
        client.call(&format!("DEL 0:{i}"));
    }
    becomes("the save ends", &"0".to_owned(), || client.info("rdb_bgsave_in_progress"));
    assert_eq!(client.info("rdb_last_bgsave_status"), "ok");
    server.kill();
    server.restart();
    assert_eq!(digest(&mut server.client()), before);
}

#[test]
fn what_writers_copy_meanwhile_is_counted() {
    let server = Server::russet(&["--rdb-key-save-delay", "300"]);
    let mut client = server.client();
    client.call("DEBUG POPULATE 3000 key 1000");
    assert_eq!((client.info("current_cow_size"), client.info("rdb_last_cow_size")), ("0".into(), "0".into()));
    client.call("BGSAVE");
    for i in 0..100 {
        client.call(&format!("SET key:{i} x"));
    }
    let copied: u64 = client.info("current_cow_size").parse().unwrap();
    assert_eq!(client.info("rdb_bgsave_in_progress"), "1");
    assert!(copied > 100, "{copied}");
    becomes("the save ends", &"0".to_owned(), || client.info("rdb_bgsave_in_progress"));
    assert!(client.info("rdb_last_cow_size").parse::<u64>().unwrap() >= copied);
    assert_eq!(client.info("current_cow_size"), "0");
}

/// Offers of the processor cost a whole time slice each, so that a save beside one such process took minutes.
#[test]
fn a_save_comes_to_its_end_beside_processes_that_never_rest() {
    struct Busy(Vec<Child>);
    impl Drop for Busy {
        fn drop(&mut self) {
            self.0.iter_mut().for_each(|process| drop(process.kill().and_then(|()| process.wait())));
        }
    }
    let server = Server::russet(&[]);
    let mut client = server.client();
    client.call("DEBUG POPULATE 200000");
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let busy = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("sh is there");
    let _busy = Busy((0..cores).map(|_| busy()).collect());
    assert_eq!(client.text("BGSAVE"), "Background saving started");
    becomes("the save ends", &"0".to_owned(), || client.info("rdb_bgsave_in_progress"));
    assert_eq!(client.info("rdb_last_bgsave_status"), "ok");
}

#[test]
fn save_points_save_by_themselves() {
    let server = Server::russet(&["--save", "1 10"]);
    let mut client = server.client();
    for i in 0..20 {
        client.call(&format!("SET key:{i} x"));
    }
    eventually("the file is written", || server.dump().exists());
    becomes("nothing is left to save", &"0".to_owned(), || client.info("rdb_changes_since_last_save"));
}

#[test]
fn the_same_data_comes_back_from_debug_reload() {
    let server = Server::russet(&[]);
    let mut client = server.client();
    fill(&mut client, 1000);
    let before = digest(&mut client);
    assert_eq!(client.call("DEBUG RELOAD"), ok());
    assert_eq!(digest(&mut client), before);
}

#[test]
fn a_broken_file_is_refused_and_not_touched() {
    let original = {
        let server = Server::russet(&[]);
        let mut client = server.client();
        fill(&mut client, 500);
        client.call("SAVE");
        std::fs::read(server.dump()).unwrap()
    };
    let middle = original.len() / 2;
    let mut flipped = original.clone();
    flipped[middle] ^= 0x40;
    for (name, bytes) in
        [("flipped", &flipped[..]), ("truncated", &original[..middle]), ("foreign", b"not an RDB")]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump.rdb");
        std::fs::write(&path, bytes).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_russet"))
            .args(["--port", &crate::harness::free_port().to_string(), "--dir"])
            .arg(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        assert!(text.contains("dump.rdb") || text.contains("offset"), "{name}: {text}");
        assert!(std::fs::read(&path).unwrap() == bytes, "{name}: the file is as it was");
    }
}

#[test]
fn a_save_that_cannot_be_written_is_told_and_leaves_the_old_file() {
    let server = Server::russet(&["--enable-protected-configs", "yes"]);
    let mut client = server.client();
    client.call("SET key value");
    client.call("SAVE");
    let before = std::fs::read(server.dump()).unwrap();
    client.call("SET key other");
    assert!(client.call("CONFIG SET dbfilename none/such.rdb").is_error());
    std::fs::create_dir(server.folder().join("taken.rdb")).unwrap();
    assert_eq!(client.call("CONFIG SET dbfilename taken.rdb"), ok());
    assert!(client.call("SAVE").is_error());
    assert_eq!(std::fs::read(server.dump()).unwrap(), before);
    let left: Vec<PathBuf> =
        std::fs::read_dir(server.folder()).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(left.len(), 3, "no temporary file is left: {left:?}");
}

/// Whoever asks for a SAVE learns of its failure from the reply; nobody would look for that of a BGSAVE.
#[test]
fn writes_are_refused_after_a_failed_save_in_the_background_alone() {
    let server = Server::russet(&["--save", "3600 1000000"]);
    let mut client = server.client();
    let is_refused = |client: &mut Client, words| client.text(words).starts_with("MISCONF");
    std::fs::create_dir(server.dump()).unwrap();
    assert!(client.call("SAVE").is_error());
    assert_eq!((client.call("SET key value"), client.text("PING")), (ok(), "PONG".into()));
    assert_eq!(client.info("rdb_last_bgsave_status"), "ok");
    client.call("BGSAVE");
    becomes("the save fails", &"err".to_owned(), || client.info("rdb_last_bgsave_status"));
    assert!(is_refused(&mut client, "SET key value") && is_refused(&mut client, "PING"));
    std::fs::remove_dir(server.dump()).unwrap();
    assert_eq!(client.call("SAVE"), ok());
    assert_eq!((client.call("SET key value"), client.text("PING")), (ok(), "PONG".into()));
}

#[test]
fn redis_loads_what_russet_saved() {
    let ours = Server::russet(&[]);
    let mut client = ours.client();
    fill(&mut client, 2000);
    let expected = digest(&mut client);
    client.call("SAVE");
    let theirs = Server::redis_with_dump(&[], &ours.dump());
    assert_eq!(digest(&mut theirs.client()), expected);
}

#[test]
fn russet_loads_what_redis_saved() {
    let theirs = Server::redis(&[]);
    let mut client = theirs.client();
    fill(&mut client, 2000);
    for key in ["scores", "many scores"] {
        for i in 0..if key == "scores" { 10 } else { 1000 } {
            client.call_args(&["ZADD", key, &format!("{}.5", i * 7 % 101), &format!("member {i}")]);
        }
    }
    let expected = digest(&mut client);
    client.call("SAVE");
    let ours = Server::russet_with_dump(&[], &theirs.dump());
    let mut client = ours.client();
    assert_eq!(digest(&mut client), expected);
    // And back, through our own writer.
    client.call("SAVE");
    let again = Server::redis_with_dump(&[], &ours.dump());
    assert_eq!(digest(&mut again.client()), expected);
}

#[test]
fn an_expired_key_is_not_loaded() {
    let mut server = Server::russet(&[]);
    let mut client = server.client();
    client.call("DEBUG SET-ACTIVE-EXPIRE 0");
    client.call("SET short x PX 1");
    client.call("SET long x PX 100000");
    client.call("SAVE");
    server.restart();
    let mut client = server.client();
    assert_eq!(client.integer("DBSIZE"), 1);
    assert_eq!(client.call("GET long"), bulk("x"));
}
