//! Killed at any moment: what was acknowledged is there after the restart, in order, and the files can be read.
//!
//! Clients append numbered records to lists of their own, some alone, some in transactions, while the server is killed with
//! SIGKILL, again and again. `RUSSET_CRASH_ROUNDS` asks for more rounds than the few that every run of the tests has.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Client, Server};

const CLIENTS: usize = 6;
const ROUNDS: u64 = 6;
/// What may be lost under `everysec`, and what a machine under load may add to it.
const LOSS_MAX: Duration = Duration::from_millis(2500);

fn rounds() -> u64 {
    std::env::var("RUSSET_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// What a client knows of its own list.
#[derive(Default)]
struct Writer {
    /// How many records were acknowledged, and when each batch of them was.
    acknowledged: u64,
    times: Vec<(Instant, u64)>,
}

impl Writer {
    /// Appends records until the server is gone.
    fn run(&mut self, port: u16, name: &str, seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let Ok(mut client) = Client::try_connect(port) else { return };
        loop {
            let count = [1, 1, 4, 16][rng.usize(..4)];
            let mut requests = Vec::new();
            let mut replies = 0;
            for record in self.acknowledged + 1..=self.acknowledged + count {
                let line = format!("RPUSH {name} {record}\r\n");
                if record % 5 == 0 {
                    write!(requests, "MULTI\r\nSET last:{name} {record}\r\n{line}EXEC\r\n").unwrap();
                    replies += 4;
                } else {
                    requests.extend_from_slice(line.as_bytes());
                    replies += 1;
                }
            }
            if client.try_send_raw(&requests).is_err() {
                return;
            }
            for _ in 0..replies {
                match client.try_read() {
                    Ok(reply) => assert!(!reply.is_error(), "{name}: {reply:?}"),
                    Err(_) => return,
                }
            }
            self.acknowledged += count;
            self.times.push((Instant::now(), self.acknowledged));
        }
    }
}

fn crash(policy: &str) {
    let args = [
        "--appendonly",
        "yes",
        "--appendfsync",
        policy,
        "--auto-aof-rewrite-min-size",
        "32kb",
        "--auto-aof-rewrite-percentage",
        "50",
    ];
    let mut server = Server::russet(&args);
    let mut rng = fastrand::Rng::with_seed(7);
    let mut writers: Vec<Writer> = (0..CLIENTS).map(|_| Writer::default()).collect();
    for round in 0..rounds() {
        let port = server.port;
        let finished = AtomicU64::new(0);
        let killed_at = std::thread::scope(|scope| {
            for (index, writer) in writers.iter_mut().enumerate() {
                let (finished, seed) = (&finished, round * 100 + index as u64);
                scope.spawn(move || {
                    writer.run(port, &format!("list:{index}"), seed);
                    finished.fetch_add(1, Ordering::Relaxed);
                });
            }
            std::thread::sleep(Duration::from_millis(rng.u64(10..400)));
            if rng.u8(..4) == 0 {
                server.client().call("BGREWRITEAOF");
                std::thread::sleep(Duration::from_millis(rng.u64(..30)));
            }
            let killed_at = Instant::now();
            server.kill();
            killed_at
        });
        assert_eq!(finished.load(Ordering::Relaxed), CLIENTS as u64);
        server.restart();
        let mut client = server.client();
        for (index, writer) in writers.iter_mut().enumerate() {
            let list = client.call(&format!("LRANGE list:{index} 0 -1"));
            let records: Vec<u64> = list
                .elements()
                .unwrap()
                .iter()
                .map(|record| std::str::from_utf8(record.as_bytes().unwrap()).unwrap().parse().unwrap())
                .collect();
            let kept = records.len() as u64;
            assert!(records.iter().copied().eq(1..=kept), "{policy}, round {round}: records are missing");
            let before_loss = writer.times.iter().filter(|(at, _)| killed_at.duration_since(*at) > LOSS_MAX);
            let must_have = match policy {
                "always" => writer.acknowledged,
                _ => before_loss.map(|(_, record)| *record).max().unwrap_or(0),
            };
            assert!(
                kept >= must_have,
                "{policy}, round {round}: {kept} records are there, {must_have} were acknowledged"
            );
            // A transaction is there as a whole.
            let last = client.call(&format!("GET last:list:{index}"));
            let last = last.as_bytes().map_or(0, |text| std::str::from_utf8(text).unwrap().parse().unwrap());
            assert_eq!(last, kept / 5 * 5, "{policy}, round {round}");
            writer.acknowledged = kept;
            writer.times.retain(|(_, record)| *record <= kept);
        }
    }
}

#[test]
fn always_keeps_all_that_was_acknowledged() {
    crash("always");
}

#[test]
fn everysec_keeps_all_but_the_last_second() {
    crash("everysec");
}

#[test]
fn no_policy_leaves_a_file_that_cannot_be_read() {
    crash("no");
}
