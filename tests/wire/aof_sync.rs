//! A disk that takes what is written and cannot keep it: fsync fails, and what came since the last one that worked is lost.
//!
//! `failing_sync.c` plays that disk below the real program. The simulation has more of such faults (`tests/simulation`);
//! here it is about what clients are told.

use std::path::{Path, PathBuf};
use std::process::Command;

use russet::resp::value::Value;

use crate::harness::{Client, Server, becomes, eventually, ok};

/// A disk whose fsync fails on demand.
struct FailingDisk {
    folder: tempfile::TempDir,
}

impl FailingDisk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/failing_sync.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([library(folder.path()).as_path(), Path::new(source)])
            .args(["-ldl", "-lpthread"])
            .status();
        assert!(status.expect("a C compiler is there").success());
        Self { folder }
    }

    fn server(&self, policy: &str) -> Server {
        let library = library(self.folder.path());
        let environment = [
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("RUSSET_FAIL_SYNC", self.switch().to_str().unwrap()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let args = ["--appendonly", "yes", "--appendfsync", policy, "--auto-aof-rewrite-percentage", "0"];
        Server::russet_with_environment(&args, &environment)
    }

    fn switch(&self) -> PathBuf {
        self.folder.path().join("fails")
    }

    fn fail(&self) {
        std::fs::write(self.switch(), "").unwrap();
    }

    fn heal(&self) {
        std::fs::remove_file(self.switch()).unwrap();
    }
}

fn library(folder: &Path) -> PathBuf {
    folder.join("failing_sync.so")
}

fn is_misconf(reply: &Value) -> bool {
    reply.is_error()
        && reply.as_bytes().is_some_and(|text| text.starts_with(b"MISCONF Errors writing to the AOF file"))
}

fn write(client: &mut Client, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        assert_eq!(client.call(&format!("SET key:{number} {number}")), ok());
    }
}

#[track_caller]
fn has_all(server: &Server, last: u64) {
    let mut client = server.client();
    for number in 1..=last {
        let found = client.call(&format!("GET key:{number}"));
        assert_eq!(found, Value::Bulk(number.to_string().into()), "key:{number} was acknowledged");
    }
}

#[test]
fn always_acknowledges_nothing_that_was_not_forced_to_disk() {
    let disk = FailingDisk::new();
    let mut server = disk.server("always");
    write(&mut server.client(), 1..=100);
    for is_healed in [false, true] {
        disk.fail();
        // Nobody knows what became of the writes that find it out: their connections end. All later ones are refused.
        std::thread::scope(|scope| {
            for index in 0..8 {
                let server = &server;
                scope.spawn(move || {
                    let mut refused = 0;
                    for attempt in 0..50 {
                        match server.client().try_call(&["SET", &format!("unsure:{index}:{attempt}"), "x"]) {
                            Ok(reply) => {
                                assert!(is_misconf(&reply), "{reply:?}");
                                refused += 1;
                            }
                            Err(error) => assert_eq!(refused, 0, "refused before, {error} now"),
                        }
                    }
                    assert!(refused > 0, "no write is refused");
                });
            }
        });
        let mut client = server.client();
        assert_eq!(client.info("aof_last_write_status"), "err");
        assert_eq!(client.call("GET key:1"), Value::Bulk(b"1".to_vec()));
        if is_healed {
            disk.heal();
            becomes("it heals", &"ok".to_owned(), || client.info("aof_last_write_status"));
            write(&mut client, 101..=200);
            server.kill();
            server.restart();
            has_all(&server, 200);
        } else {
            // Killed while the disk fails, and started on a disk that is whole again.
            server.kill();
            disk.heal();
            server.restart();
            has_all(&server, 100);
        }
    }
}

#[test]
fn everysec_refuses_writes_from_the_fsync_that_fails_on_and_loses_nothing_once_it_heals() {
    let disk = FailingDisk::new();
    let mut server = disk.server("everysec");
    let mut client = server.client();
    write(&mut client, 1..=100);
    disk.fail();
    let mut last = 100;
    eventually("writes are refused", || {
        let reply = client.call(&format!("SET key:{} {}", last + 1, last + 1));
        last += u64::from(reply == ok());
        assert!(reply == ok() || is_misconf(&reply), "{reply:?}");
        reply != ok()
    });
    assert_eq!(client.info("aof_last_write_status"), "err");
    disk.heal();
    becomes("it heals", &"ok".to_owned(), || client.info("aof_last_write_status"));
    write(&mut client, last + 1..=last + 100);
    assert_eq!(client.call("WAITAOF 1 0 0").elements().unwrap()[0].as_integer(), Some(1));
    server.kill();
    server.restart();
    has_all(&server, last + 100);
}
