//! A disk that is full: writes are refused, nothing acknowledged is lost, and the server heals by itself.
//!
//! The disk is a small filesystem in memory where the test may mount one, otherwise a limit on the size of files, under which
//! writes fail the same way.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Client, Server, becomes, ok};

/// A folder with room for little.
struct SmallDisk {
    folder: tempfile::TempDir,
    is_mounted: bool,
}

impl SmallDisk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        Self { folder, is_mounted: mounted }
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    /// A server that works in it, with room for two megabytes, of one file where nothing can be mounted.
    fn serve(&self, args: &[&str]) -> Server {
        let args = [args, &["--dir", self.folder.path().to_str().unwrap()]].concat();
        if self.is_mounted {
            std::fs::write(self.ballast(), vec![0; 2 << 20]).unwrap();
            Server::russet(&args)
        } else {
            eprintln!("no filesystem can be mounted here: the size of files is limited instead");
            Server::russet_with_file_limit(&args, 2 << 20)
        }
    }

    fn make_room(&self, server: &Server) {
        if self.is_mounted {
            std::fs::remove_file(self.ballast()).unwrap();
        } else {
            server.lift_file_limit();
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.is_mounted {
            // What stays mounted is in nobody's way.
            let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        }
    }
}

/// Writes until it is refused; the last number that was acknowledged.
fn write_until_refused(client: &mut Client, port: u16, from: u64) -> u64 {
    let mut acknowledged = from;
    for number in from + 1..from + 20_000 {
        match client.try_call(&["SET", &format!("key:{number}"), &"x".repeat(2000)]) {
            Ok(reply) if reply == ok() => acknowledged = number,
            Ok(reply) => {
                let text = String::from_utf8_lossy(reply.as_bytes().unwrap()).into_owned();
                assert!(text.contains("MISCONF Errors writing to the AOF file"), "{text}");
                return acknowledged;
            }
            // Under `always` nobody knows what became of the write that found the disk full.
            Err(_) => *client = Client::connect(port),
        }
    }
    panic!("the disk is never full");
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_again() {
    for policy in ["always", "everysec"] {
        let disk = SmallDisk::new();
        let args = ["--appendonly", "yes", "--appendfsync", policy, "--auto-aof-rewrite-percentage", "0"];
        let mut server = disk.serve(&args);
        let mut client = server.client();
        let acknowledged = write_until_refused(&mut client, server.port, 0);
        assert!(acknowledged > 100, "{policy}: {acknowledged}");
        assert_eq!(client.info("aof_last_write_status"), "err");
        assert!(client.call("GET key:1").as_bytes().is_some(), "reads go on");
        assert!(client.call("SET other x").is_error());
        assert!(client.call("PING").is_error(), "who asks whether the server is well learns of it");

        // There is room again.
        disk.make_room(&server);
        becomes("it heals", &"ok".to_owned(), || client.info("aof_last_write_status"));
        assert_eq!(client.text("PING"), "PONG");
        assert_eq!(client.call("SET healed yes"), ok());
        client.call("WAITAOF 1 0 0");
        assert!(server.log().contains("AOF write error looks solved"));
        server.restart();
        let mut client = server.client();
        for number in 1..=acknowledged {
            assert_eq!(
                client.integer(&format!("EXISTS key:{number}")),
                1,
                "{policy}: key:{number} was acknowledged"
            );
        }
        assert_eq!(client.integer("EXISTS healed"), 1);
    }
}

#[test]
fn a_first_base_that_cannot_be_written_holds_nobody_up() {
    let disk = SmallDisk::new();
    let mut server = disk.serve(&["--appendfsync", "always", "--rdbcompression", "no"]);
    let mut client = server.client();
    for number in 0..30 {
        client.call_args(&["SET", &format!("large:{number}"), &"x".repeat(100_000)]);
    }
    assert_eq!(client.call("CONFIG SET appendonly yes"), ok());
    // By now the next try is a minute away.
    becomes("it has failed thrice", &true, || server.log().contains("repeatedly failed"));
    assert_eq!(client.call("SET key x"), ok());
    assert_eq!(server.client().call("GET key"), client.call("GET key"));
    assert_eq!(client.info("aof_enabled"), "1");
    assert_eq!(client.info("aof_last_bgrewrite_status"), "err");
    assert_eq!(client.info("aof_last_write_status"), "ok");

    disk.make_room(&server);
    client.call("BGREWRITEAOF");
    becomes("there is a base", &"ok".to_owned(), || client.info("aof_last_bgrewrite_status"));
    assert_eq!(client.call("SET later x"), ok());
    server.kill();
    let dir = disk.folder.path().to_str().unwrap();
    let server = Server::russet(&["--appendonly", "yes", "--dir", dir]);
    assert_eq!(server.client().integer("EXISTS large:0 large:29 key later"), 4);
}
