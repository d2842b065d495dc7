//! The program as a process: arguments, exit codes, signals, sockets.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};

use crate::harness::{Server, bulk, ok};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_russet")).args(args).output().expect("the program can be started")
}

/// One line on stderr or stdout that names the trouble, and exit code 1.
#[track_caller]
fn refuses(args: &[&str], expected: &str) {
    let output = run(args);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
    assert!(text.contains(expected), "{args:?}: {text}");
}

#[test]
fn a_busy_port_ends_the_start_with_exit_code_one() {
    let server = Server::russet(&[]);
    let port = server.port.to_string();
    refuses(&["--port", &port], "Failed listening on port");
    let told = String::from_utf8_lossy(&run(&["--port", &port]).stdout).into_owned();
    let errors = told.lines().filter(|line| line.contains("ddress already in use"));
    assert_eq!(errors.count(), 1, "one line says it: {told}");
    assert_eq!(told.lines().count(), 2, "after the line that names the server: {told}");
}

#[test]
fn wrong_arguments_and_files_end_the_start_with_exit_code_one() {
    refuses(&["/nonexistent/redis.conf"], "/nonexistent/redis.conf");
    refuses(&["--port", "many"], "port");
    refuses(&["--no-such-parameter", "1"], "no-such-parameter");
    refuses(&["--dir", "/nonexistent"], "/nonexistent");
}

#[test]
fn help_and_version_are_told() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("--replicaof"));
    let version = run(&["--version"]);
    assert!(String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_log_tells_who_serves_where() {
    let server = Server::russet(&[]);
    let log = server.log();
    for part in [&server.port.to_string(), &server.pid().to_string(), "Ready to accept connections"] {
        assert!(log.contains(part), "{part} is missing in:\n{log}");
    }
}

#[test]
fn a_configuration_file_is_read_and_flags_come_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redis.conf");
    std::fs::write(&path, "# a comment\nmaxmemory 100mb\nhash-max-listpack-entries 7\n").unwrap();
    let path = path.to_str().unwrap();
    let port = crate::harness::free_port().to_string();
    let mut process = Command::new(env!("CARGO_BIN_EXE_russet"))
        .args([path, "--port", &port, "--hash-max-listpack-entries", "9", "--save", ""])
        .arg("--dir")
        .arg(folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    crate::harness::eventually("it serves", || {
        crate::harness::Client::try_connect(port.parse().unwrap()).is_ok()
    });
    let mut client = crate::harness::Client::connect(port.parse().unwrap());
    let maxmemory = client.call("CONFIG GET maxmemory");
    let entries = client.call("CONFIG GET hash-max-listpack-entries");
    let _ = process.kill();
    let _ = process.wait();
    assert_eq!(maxmemory.elements().unwrap()[1], bulk("104857600"));
    assert_eq!(entries.elements().unwrap()[1], bulk("9"));
}

#[test]
fn renamed_commands_are_known_by_their_new_name_and_reach_replicas_under_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redis.conf");
    std::fs::write(&path, "rename-command SET store\nrename-command FLUSHALL \"\"\n").unwrap();
    let server = Server::russet(&["--include", path.to_str().unwrap()]);
    let replica = Server::redis(&["--replicaof", "127.0.0.1", &server.port.to_string()]);
    let mut client = server.client();
    assert_eq!(client.call("STORE key value"), ok());
    assert!(client.text("SET key other").starts_with("ERR unknown command 'SET'"));
    assert!(client.text("FLUSHALL").starts_with("ERR unknown command 'FLUSHALL'"));
    let mut client = replica.client();
    crate::harness::becomes("the replica has the value", &bulk("value"), || client.call("GET key"));

    std::fs::write(&path, "rename-command NOSUCH other\n").unwrap();
    refuses(&[path.to_str().unwrap()], "No such command in rename-command: 'NOSUCH'");
}

#[test]
fn sigterm_saves_when_there_are_save_points_and_ends_in_order() {
    let mut server = Server::russet(&["--save", "3600 1000"]);
    let mut client = server.client();
    assert_eq!(client.call("SET key value"), ok());
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    server.restart();
    assert_eq!(server.client().call("GET key"), bulk("value"));
}

#[test]
fn sigint_without_save_points_ends_without_a_file() {
    let mut server = Server::russet(&[]);
    assert_eq!(server.client().call("SET key value"), ok());
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(0));
    assert!(!server.dump().exists());
}

#[test]
fn shutdown_ends_the_process() {
    let mut server = Server::russet(&[]);
    let mut client = server.client();
    client.call("SET key value");
    assert!(client.try_call(&["SHUTDOWN", "SAVE"]).is_err(), "the connection closes without a reply");
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.dump().exists());
}

#[test]
fn a_unix_socket_serves_as_tcp_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("russet.sock");
    let _server = Server::russet(&["--unixsocket", path.to_str().unwrap()]);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut reply = [0; 7];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"+PONG\r\n");
}

fn oom_score(server: &Server) -> i32 {
    let path = format!("/proc/{}/oom_score_adj", server.pid());
    std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

#[test]
fn the_score_for_the_kernel_follows_parameter_and_role_and_is_put_back() {
    let server = Server::russet(&["--oom-score-adj", "relative", "--oom-score-adj-values", "10", "20", "30"]);
    let mut client = server.client();
    let with_ten = oom_score(&server);
    assert_eq!(client.call_args(&["CONFIG", "SET", "oom-score-adj-values", "15 20 30"]), ok());
    assert_eq!(oom_score(&server), with_ten + 5);
    assert_eq!(client.call("REPLICAOF 127.0.0.1 1"), ok());
    assert_eq!(oom_score(&server), with_ten + 10);
    assert_eq!(client.call("REPLICAOF NO ONE"), ok());
    assert_eq!(oom_score(&server), with_ten + 5);
    assert_eq!(client.call("CONFIG SET oom-score-adj absolute"), ok());
    assert_eq!(oom_score(&server), 15);
    // All or nothing: the directory does not exist.
    let refused = client.text("CONFIG SET oom-score-adj no dir /nonexistent");
    assert!(refused.starts_with("ERR CONFIG SET failed"), "{refused}");
    assert_eq!(oom_score(&server), 15);
    assert_eq!(client.call("CONFIG SET oom-score-adj no"), ok());
    assert_eq!(oom_score(&server), with_ten - 10);
}

#[test]
fn a_crash_leaves_a_report_in_the_log() {
    use std::os::unix::process::ExitStatusExt as _;
    for (line, signal, said) in [
        ("DEBUG SEGFAULT", 11, "STACK TRACE"),
        ("DEBUG PANIC", 6, "DEBUG PANIC"),
        ("DEBUG ASSERT", 6, "DEBUG ASSERT"),
    ] {
        let mut server = Server::russet(&["--enable-debug-command", "yes"]);
        server.client().send_raw(format!("{line}\r\n").as_bytes());
        assert_eq!(server.wait().signal(), Some(signal), "{line}");
        let log = server.log();
        let crashed = format!("crashed by signal: {signal}");
        for part in ["REDIS BUG REPORT START", &crashed, "STACK TRACE", said, "(+0x", "REDIS BUG REPORT END"]
        {
            assert!(log.contains(part), "{line}: {part} is missing in:\n{log}");
        }
    }
    let mut server = Server::russet(&["--enable-debug-command", "yes", "--crash-log-enabled", "no"]);
    server.client().send_raw(b"DEBUG SEGFAULT\r\n");
    assert_eq!(server.wait().signal(), Some(11));
    assert!(!server.log().contains("STACK TRACE"));
}
