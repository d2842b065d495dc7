//! Clients that others wrote: redis-cli, redis-benchmark, redis-py.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::Server;

/// What redis-cli prints for these lines of its standard input.
fn cli(server: &Server, args: &[&str], input: &str) -> String {
    let mut process = Command::new("redis-cli")
        .args(["-p", &server.port.to_string()])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli is installed");
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const CONVERSATION: &str = "SET greeting \"hello world\"\nGET greeting\nAPPEND greeting !\nTYPE greeting\n\
    RPUSH list a b c\nLRANGE list 0 -1\nHSET hash f1 v1 f2 v2\nHGET hash f2\nSADD set 1 2 3\nSCARD set\n\
    MULTI\nINCR counter\nINCR counter\nEXEC\nGET list\nNOSUCH command\nEXPIRE counter 100\nTTL counter\n\
    OBJECT ENCODING set\nDEL list\nDBSIZE\n";

#[test]
fn redis_cli_prints_what_it_prints_with_redis() {
    let (ours, theirs) = (Server::russet(&[]), Server::redis(&[]));
    for args in [&[][..], &["-3"], &["--no-raw"], &["-n", "3"]] {
        let (found, expected) = (cli(&ours, args, CONVERSATION), cli(&theirs, args, CONVERSATION));
        assert_eq!(found, expected, "redis-cli {args:?}");
    }
}

#[test]
fn redis_cli_scans_and_loads_in_bulk() {
    let server = Server::russet(&[]);
    let requests: String = (0..1000).map(|i| format!("SET key:{i} {i}\r\n")).collect();
    let piped = cli(&server, &["--pipe"], &requests);
    assert!(piped.contains("errors: 0, replies: 1000"), "{piped}");
    let scanned = cli(&server, &["--scan", "--pattern", "key:99*"], "");
    assert_eq!(scanned.lines().count(), 11, "{scanned}");
    let big = cli(&server, &["--bigkeys"], "");
    assert!(big.contains("1000 strings with"), "{big}");
    let rdb = server.folder().join("taken.rdb");
    cli(&server, &["--rdb", rdb.to_str().unwrap()], "");
    assert!(std::fs::read(&rdb).is_ok_and(|bytes| bytes.starts_with(b"REDIS0")), "redis-cli --rdb");
}

#[test]
fn redis_benchmark_runs_its_whole_suite() {
    let server = Server::russet(&[]);
    for extra in [&[][..], &["-P", "16"], &["-3", "-t", "set,get"]] {
        let output = Command::new("redis-benchmark")
            .args(["-p", &server.port.to_string(), "-n", "500", "-c", "20", "--csv"])
            .args(extra)
            .output()
            .expect("redis-benchmark is installed");
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !text.contains("ERR"), "{extra:?}: {text}{errors}");
        assert!(text.lines().count() >= if extra.contains(&"-t") { 3 } else { 19 }, "{extra:?}: {text}");
    }
}

#[test]
fn redis_py_works_in_both_protocols() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/redis_py.py");
    for protocol in ["2", "3"] {
        let server = Server::russet(&[]);
        let output = Command::new(python())
            .arg(&script)
            .args([&server.port.to_string(), protocol])
            .output()
            .expect("test.sh prepares a Python with redis-py");
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "RESP{protocol}:\n{}", String::from_utf8_lossy(&text));
    }
}

pub fn python() -> PathBuf {
    let venv = std::env::var_os("RUSSET_TEST_VENV").map(PathBuf::from);
    venv.unwrap_or_else(|| std::env::temp_dir().join("russet-test-venv")).join("bin/python")
}
