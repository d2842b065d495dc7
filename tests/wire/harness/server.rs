//! A server process of ours or of Redis, in a folder and on a port of its own.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

use super::{Client, eventually};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Russet,
    Redis,
}

pub struct Server {
    kind: Kind,
    process: Child,
    pub port: u16,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    folder: TempDir,
}

impl Server {
    /// Our server, with these arguments besides port and folder.
    #[track_caller]
    pub fn russet(args: &[&str]) -> Self {
        Self::start(Kind::Russet, args)
    }

    /// The real one.
    #[track_caller]
    pub fn redis(args: &[&str]) -> Self {
        Self::start(Kind::Redis, args)
    }

    #[track_caller]
    fn start(kind: Kind, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::start_in(kind, args, folder)
    }

    /// Our server in a folder that holds this `dump.rdb`.
    #[track_caller]
    pub fn russet_with_dump(args: &[&str], dump: &Path) -> Self {
        Self::start_in(Kind::Russet, args, folder_with_dump(dump))
    }

    #[track_caller]
    pub fn redis_with_dump(args: &[&str], dump: &Path) -> Self {
        Self::start_in(Kind::Redis, args, folder_with_dump(dump))
    }

    /// Our server in a folder with files of an earlier one.
    #[track_caller]
    pub fn russet_in(args: &[&str], folder: TempDir) -> Self {
        Self::start_in(Kind::Russet, args, folder)
    }

    /// Our server with more in its environment.
    #[track_caller]
    pub fn russet_with_environment(args: &[&str], environment: &[(String, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::start_with(Kind::Russet, args, environment.to_vec(), folder)
    }

    #[track_caller]
    pub fn redis_in(args: &[&str], folder: TempDir) -> Self {
        Self::start_in(Kind::Redis, args, folder)
    }

    #[track_caller]
    fn start_in(kind: Kind, args: &[&str], folder: TempDir) -> Self {
        Self::start_with(kind, args, Vec::new(), folder)
    }

    #[track_caller]
    fn start_with(kind: Kind, args: &[&str], environment: Vec<(String, String)>, folder: TempDir) -> Self {
        let port = free_port();
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let process = spawn(kind, port, folder.path(), &args, &environment);
        let mut server = Self { kind, process, port, args, environment, folder };
        server.wait_until_ready();
        server
    }

    /// Our server, whose files may not grow beyond `bytes`.
    #[track_caller]
    pub fn russet_with_file_limit(args: &[&str], bytes: u64) -> Self {
        let server = Self::russet(args);
        server.limit_files(&bytes.to_string());
        server
    }

    pub fn lift_file_limit(&self) {
        self.limit_files("unlimited");
    }

    fn limit_files(&self, limit: &str) {
        let status = Command::new("prlimit")
            .args(["--pid", &self.pid().to_string(), &format!("--fsize={limit}:unlimited")])
            .status();
        assert!(status.expect("prlimit is there").success());
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let port = self.port;
        eventually("the server is ready", || {
            if let Some(status) = self.process.try_wait().expect("the process is ours") {
                panic!("the server on port {port} ended with {status}:\n{}", self.log());
            }
            self.log().contains("Ready to accept connections") && Client::try_connect(port).is_ok()
        });
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn dump(&self) -> PathBuf {
        self.folder().join("dump.rdb")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// As if the machine had lost power, but for the page cache.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Sends a signal by name, as `kill` takes it.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill is there").success());
    }

    /// SIGSTOP, and waits until the last of its threads stands still.
    #[track_caller]
    pub fn stop(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.pid());
        let stands = |task: &Path| {
            let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
        };
        eventually("the server stands still", || {
            let mut tasks = std::fs::read_dir(&tasks).expect("the process is there");
            tasks.all(|task| task.is_ok_and(|task| stands(&task.path())))
        });
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the server ends", || {
            status = self.process.try_wait().expect("the process is ours");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// Starts again what has ended: same port, folder and arguments.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        // What the log tells is told anew.
        let _ = std::fs::rename(self.folder().join("log"), self.folder().join("log of the last run"));
        self.process = spawn(self.kind, self.port, self.folder.path(), &self.args, &self.environment);
        self.wait_until_ready();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("--- log of the {:?} server on port {}:\n{last}", self.kind, self.port);
        }
    }
}

fn folder_with_dump(dump: &Path) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(dump, folder.path().join("dump.rdb")).expect("the dump can be copied");
    folder
}

fn spawn(kind: Kind, port: u16, folder: &Path, args: &[String], environment: &[(String, String)]) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("a log file");
    let program = match kind {
        Kind::Russet => env!("CARGO_BIN_EXE_russet"),
        Kind::Redis => "redis-server",
    };
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--dir"]).arg(folder);
    command.args(["--save", "", "--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"]);
    command.args(args).envs(environment.iter().cloned()).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("{program}: {error} (does ./test.sh install it?)"))
}

/// A port that nobody listens on. Below the range from which the system takes ports of outgoing connections.
///
/// To listen on it for a moment would be no proof that it is free afterwards: a process that another thread is starting has
/// a copy of every open file until it is loaded.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = (std::process::id() % 97) as u16 * 200;
    loop {
        let port = FIRST + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}
