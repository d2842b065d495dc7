//! Real redis-sentinel processes watch over masters and replicas of ours, and of both kinds.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::clients::python;
use crate::harness::{Client, Server, becomes, bulk, eventually, free_port};
use crate::replication::{Make, become_equal, start, wait_until_linked};

/// Long enough that a loaded machine is not taken for a dead one.
const DOWN_AFTER_MS: u32 = 1500;
const QUORUM: usize = 2;

struct Watch {
    processes: Vec<Child>,
    ports: Vec<u16>,
    _folders: Vec<TempDir>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Watch {
    fn over(master: u16) -> Self {
        let mut watch = Self { processes: Vec::new(), ports: Vec::new(), _folders: Vec::new() };
        for _ in 0..QUORUM {
            let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
            let config = folder.path().join("sentinel.conf");
            let lines = format!(
                "port {port}\ndir {}\nsentinel monitor group 127.0.0.1 {master} {QUORUM}\n\
                 sentinel down-after-milliseconds group {DOWN_AFTER_MS}\nsentinel failover-timeout group 10000\n",
                folder.path().display()
            );
            std::fs::write(&config, lines).unwrap();
            let log = File::create(folder.path().join("log")).unwrap();
            let process = Command::new("redis-sentinel")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(log)
                .spawn()
                .expect("redis-sentinel is installed");
            watch.processes.push(process);
            watch.ports.push(port);
            watch._folders.push(folder);
        }
        watch
    }

    /// Waits until each sentinel knows the replicas, and the others, whom it finds by the master's channels.
    fn wait_until_all_are_known(&self, replicas: usize) {
        for &port in &self.ports {
            eventually("a sentinel knows all", || {
                let Ok(mut client) = Client::try_connect(port) else { return false };
                let info = client.text("INFO sentinel");
                info.contains(&format!("slaves={replicas},sentinels={QUORUM}")) && info.contains("status=ok")
            });
        }
    }
}

/// redis-py's Sentinel client, which writes what it is told to.
struct Writer {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Writer {
    fn new(watch: &Watch) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/sentinel.py");
        let mut process = Command::new(python())
            .arg(script)
            .args(watch.ports.iter().map(u16::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("test.sh prepares a Python with redis-py");
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, input, output: BufReader::new(output) }
    }

    /// The port of the master that has taken `line`.
    fn write(&mut self, line: &str) -> u16 {
        writeln!(self.input, "{line}").unwrap();
        let mut port = String::new();
        self.output.read_line(&mut port).unwrap();
        port.trim().parse().unwrap_or_else(|_| panic!("redis-py could not write {line:?}"))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// SIGKILL: what was in memory is gone.
    Killed,
    /// SIGTERM, with a snapshot.
    Terminated,
}

/// The master ends, sentinel promotes a replica, and clients go on there. A master that was terminated comes back as a
/// replica, which takes sentinel ten seconds.
fn fails_over(makes: [Make; 3], end: End) {
    let save: &[&str] = if end == End::Terminated { &["--save", "3600 1000000"] } else { &[] };
    let mut master = start(makes[0], save);
    let replicas = [start(makes[1], &[]), start(makes[2], &[])];
    for replica in &replicas {
        let mut client = replica.client();
        client.call(&format!("REPLICAOF 127.0.0.1 {}", master.port));
        wait_until_linked(&mut client);
    }
    let watch = Watch::over(master.port);
    watch.wait_until_all_are_known(2);
    let mut writer = Writer::new(&watch);
    assert_eq!(writer.write("before"), master.port);
    for replica in &replicas {
        becomes("the replica has it", &bulk("before"), || replica.client().call("GET line"));
    }

    match end {
        End::Killed => master.kill(),
        End::Terminated => {
            master.signal("TERM");
            master.wait();
        }
    }
    let promoted = writer.write("after");
    let (new, other) = match promoted == replicas[0].port {
        true => (&replicas[0], &replicas[1]),
        false => (&replicas[1], &replicas[0]),
    };
    assert_eq!(promoted, new.port);
    follows(other, new);
    let mut new_client = new.client();
    // The history of the old master goes on in the new one.
    assert_eq!((new_client.info("sync_full"), new_client.info("sync_partial_ok")), ("0".into(), "1".into()));
    if end == End::Killed {
        return;
    }

    master.restart();
    follows(&master, new);
    let syncs = (new_client.info("sync_full"), new_client.info("sync_partial_ok"));
    assert_eq!(syncs, ("0".into(), "2".into()), "the old master goes on from its file");
    assert_eq!(writer.write("at the end"), new.port);
    become_equal(&mut new_client, &mut master.client());
    become_equal(&mut new_client, &mut other.client());
}

/// Waits until sentinel has made `replica` follow `master`. It closes the clients of whom it reconfigures, so each question
/// comes from a new one.
fn follows(replica: &Server, master: &Server) {
    let port = master.port.to_string();
    becomes("the master that is followed", &port, || replica.client().info("master_port"));
    becomes("the link", &"up".to_owned(), || replica.client().info("master_link_status"));
}

#[test]
fn sentinel_replaces_a_killed_master_and_its_clients_go_on() {
    fails_over([Make::Russet; 3], End::Killed);
}

#[test]
fn sentinel_manages_a_mixed_group_and_the_old_master_resumes_from_its_file() {
    fails_over([Make::Russet, Make::Russet, Make::Redis], End::Terminated);
}

#[test]
fn sentinel_replaces_a_redis_master_by_ours() {
    fails_over([Make::Redis, Make::Russet, Make::Russet], End::Killed);
}
