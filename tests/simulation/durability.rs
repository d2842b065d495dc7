//! One server and its append-only file on a disk that fails, from a seed.
//!
//! Clients append numbered records to lists of their own while writes and fsyncs fail, the disk is full for a while, the
//! file is rewritten, switched off and on, and the process or the whole machine goes down at any step. After each restart
//! the file must load, hold the records without a gap, and hold:
//! - under `always`, what was acknowledged;
//! - under `everysec`, what an fsync has covered, which on a disk that works is all but the last second;
//! - when the process alone has ended and no fsync had failed, what was acknowledged under any policy.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use russet::base::clock::{Clock as _, ManualClock, UnixMillis};
use russet::command::{self, TABLE, dispatch};
use russet::config::{AppendFsync, Config};
use russet::engine::aof::{Phase, RewriteRequest, Until, Wait};
use russet::engine::{ClientId, Engine};
use russet::replication::log::ReplOffset;
use russet::resp::args::OwnedArgs;
use russet::runtime::aof::{self, Gate, Pace, Passage, World, Writer};

use crate::disk::{Fault, FaultyDisk};

const CLIENTS: usize = 3;
const LIVES: usize = 4;
const STEP_MS_MAX: i64 = 60;
/// An fsync each second, in a turn after it was due, reported in the turn after that.
const LOSS_MS_MAX: i64 = 1000 + 4 * STEP_MS_MAX;

/// What has happened in some runs.
#[derive(Debug, Default)]
pub struct Totals {
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    pub healed: u64,
    pub rewrites: u64,
    pub crashes_in_steps: u64,
    pub crashes_in_loads: u64,
    pub kills: u64,
    pub ends: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.healed += other.healed;
        self.rewrites += other.rewrites;
        self.crashes_in_steps += other.crashes_in_steps;
        self.crashes_in_loads += other.crashes_in_loads;
        self.kills += other.kills;
        self.ends += other.ends;
    }

    pub fn all_positive(&self) -> bool {
        [
            self.acknowledged,
            self.refused,
            self.unknown,
            self.healed,
            self.rewrites,
            self.crashes_in_steps,
            self.crashes_in_loads,
            self.kills,
            self.ends,
        ]
        .iter()
        .all(|&count| count > 0)
    }
}

/// What is around the writer.
#[derive(Clone)]
struct Seat(Rc<Inner>);

struct Inner {
    engine: RefCell<Engine>,
    gate: Gate,
    disk: FaultyDisk,
    clock: ManualClock,
    bases: RefCell<VecDeque<(Box<RewriteRequest>, PathBuf)>>,
}

impl World for Seat {
    type Disk = FaultyDisk;

    fn disk(&self) -> FaultyDisk {
        self.0.disk.clone()
    }

    fn enter<R>(&self, f: impl FnOnce(&mut Engine) -> R) -> R {
        let engine = &mut *self.0.engine.borrow_mut();
        engine.time.sample();
        let result = f(engine);
        engine.jobs.clear();
        engine.log_lines.clear();
        engine.take_pending_writes();
        result
    }

    fn gate(&self) -> &Gate {
        &self.0.gate
    }

    fn start_base(&self, request: Box<RewriteRequest>, path: &Path) -> std::io::Result<()> {
        self.0.bases.borrow_mut().push_back((request, path.to_owned()));
        Ok(())
    }

    fn uptime(&self) -> Duration {
        Duration::from_micros(self.0.clock.unix_micros() as u64)
    }

    fn pause(&self, duration: Duration) {
        self.0.clock.wait(duration);
    }
}

/// Who appends records to a list.
struct Client {
    id: ClientId,
    name: String,
    /// The last record that the engine has run, and the last that was acknowledged.
    sent: u64,
    acknowledged: u64,
    /// What must be there after the machine went down.
    durable: u64,
    /// What must be there after the process alone went down, until the machine does.
    written: u64,
    is_written: bool,
    waiting: Option<Wait>,
    /// Where the stream was behind a record.
    places: VecDeque<(u64, ReplOffset, u64)>,
    /// When a record was acknowledged.
    times: VecDeque<(i64, u64)>,
}

pub struct Durability {
    rng: fastrand::Rng,
    clock: ManualClock,
    disk: FaultyDisk,
    config: Config,
    clients: Vec<Client>,
    totals: Totals,
    is_told: bool,
}

impl Durability {
    pub fn new(seed: u64, is_told: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = Config {
            appendonly: true,
            appendfsync: rng
                .choice([AppendFsync::Always, AppendFsync::EverySec, AppendFsync::No])
                .expect("some"),
            aof_use_rdb_preamble: rng.bool(),
            aof_timestamp_enabled: rng.u8(..4) == 0,
            no_appendfsync_on_rewrite: rng.u8(..5) == 0,
            auto_aof_rewrite_min_size: 2000,
            dir: "/data".to_owned(),
            ..Config::default()
        };
        let clients = (0..CLIENTS).map(|index| Client {
            id: ClientId(0),
            name: format!("list:{index}"),
            sent: 0,
            acknowledged: 0,
            durable: 0,
            written: 0,
            is_written: false,
            waiting: None,
            places: VecDeque::new(),
            times: VecDeque::new(),
        });
        let clients = clients.collect();
        let disk = FaultyDisk::new(rng.fork());
        let clock = ManualClock::new(UnixMillis(1_700_000_000_000));
        Self { rng, clock, disk, config, clients, totals: Totals::default(), is_told }
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        if self.is_told {
            println!("{} {}", self.clock.unix_micros() / 1000 % 1_000_000, text());
        }
    }

    pub fn run(mut self) -> Totals {
        self.tell(|| format!("{:?}", self.config.appendfsync));
        for life in 0..LIVES {
            let (seat, writer) = self.start(life > 0);
            self.live(&seat, writer);
        }
        self.start(true);
        self.totals
    }

    /// Loads what there is and looks at it. The machine may go down meanwhile, and is started again.
    fn start(&mut self, may_crash: bool) -> (Seat, Writer<Seat>) {
        loop {
            let engine =
                command::new_engine(self.config.clone(), Box::new(self.clock.clone()), self.rng.u64(..));
            let seat = Seat(Rc::new(Inner {
                engine: RefCell::new(engine),
                gate: Gate::default(),
                disk: self.disk.clone(),
                clock: self.clock.clone(),
                bases: RefCell::default(),
            }));
            if may_crash && self.rng.u8(..4) == 0 {
                self.disk.crash_after(self.rng.u32(1..15));
            }
            let disk = self.disk.clone();
            let opened = seat
                .enter(|engine| aof::begin(engine, disk))
                .and_then(|plan| aof::load::load(&seat, plan.expect("it is switched on")));
            match opened {
                Ok(opened) => {
                    self.disk.crash_after(u32::MAX);
                    self.look(&seat);
                    // Clients are let in before the writer has learned of its file, or even begun: what it took then went
                    // nowhere.
                    let early = self.rng.bool().then(|| Writer::new(seat.clone(), true));
                    if self.rng.bool() {
                        self.append(0, &seat);
                    }
                    let mut writer = early.unwrap_or_else(|| Writer::new(seat.clone(), true));
                    writer.turn();
                    writer.open(opened);
                    return (seat, writer);
                }
                Err(error) => {
                    assert!(self.disk.is_down(), "the file does not load: {error:#}");
                    self.totals.crashes_in_loads += 1;
                    self.disk.lose_power();
                    for client in &mut self.clients {
                        client.is_written = false;
                    }
                }
            }
        }
    }

    /// Compares what was loaded with what must be there.
    fn look(&mut self, seat: &Seat) {
        for client in &mut self.clients {
            client.id = seat.enter(|engine| {
                let now = engine.now();
                let client = engine.clients.connect(now);
                client.is_authenticated = true;
                client.id
            });
            let list = ask(seat, client.id, &["LRANGE", &client.name, "0", "-1"]);
            let list = list.lines().filter(|line| !line.starts_with(['*', '$']));
            let records: Vec<u64> = list.map(|line| line.parse().expect("records are numbers")).collect();
            let kept = records.len() as u64;
            assert!(
                records.iter().copied().eq(1..=kept),
                "{}: records are missing: {records:?}",
                client.name
            );
            let is_written = std::mem::take(&mut client.is_written);
            let expected = if is_written { client.durable.max(client.written) } else { client.durable };
            assert!(kept >= expected, "{}: {kept} records are there, {expected} must be", client.name);
            assert!(kept <= client.sent, "{}: {kept} records, {} were sent", client.name, client.sent);
            let last = ask(seat, client.id, &["GET", &format!("last:{}", client.name)]);
            let last: u64 =
                last.lines().nth(1).map_or(0, |line| line.parse().expect("the last record is a number"));
            assert_eq!(last, kept / 5 * 5, "{}: half a transaction", client.name);
            (client.sent, client.acknowledged, client.durable, client.written) = (kept, kept, kept, kept);
            client.waiting = None;
            client.places.clear();
            client.times.clear();
        }
    }

    /// Serves clients until the process or the machine goes down.
    fn live(&mut self, seat: &Seat, mut writer: Writer<Seat>) {
        if self.rng.bool() {
            self.disk.crash_after(self.rng.u32(1..400));
        }
        let steps = self.rng.u32(20..300);
        // The first second after a start, or after a fault, is not looked at.
        let mut healthy_at = self.clock.unix_micros() / 1000;
        for _ in 0..steps {
            let (had_error, rewrites) =
                seat.enter(|engine| (engine.aof.write_error.is_some(), engine.aof.rewrites));
            self.act(seat, &mut writer);
            while !self.disk.is_down() && writer.turn() == Pace::AtOnce {}
            if self.disk.is_down() {
                self.tell(|| "the machine goes down".to_owned());
                self.totals.crashes_in_steps += 1;
                return self.disk.lose_power();
            }
            self.clock.advance_ms(self.rng.i64(1..=STEP_MS_MAX));
            seat.enter(|engine| engine.rewrite_if_due());
            let now = self.clock.unix_micros() / 1000;
            let (has_error, rewrites_after, phase) = seat
                .enter(|engine| (engine.aof.write_error.is_some(), engine.aof.rewrites, engine.aof.phase));
            self.totals.healed += u64::from(had_error && !has_error);
            self.totals.rewrites += rewrites_after - rewrites;
            if has_error || self.disk.fault() != Fault::None || phase != Phase::On {
                healthy_at = now;
            }
            self.poll(seat, now - healthy_at > LOSS_MS_MAX);
        }
        let has_error = seat.enter(|engine| engine.aof.write_error.is_some());
        match self.rng.u8(..3) {
            0 => {
                self.tell(|| "the machine goes down between steps".to_owned());
                self.disk.lose_power();
            }
            1 => {
                self.tell(|| "the process is killed".to_owned());
                self.totals.kills += 1;
                self.expect_written(has_error);
                self.go_on();
            }
            _ => {
                self.tell(|| "the process ends".to_owned());
                self.totals.ends += 1;
                writer.finish();
                if self.disk.is_down() {
                    return self.disk.lose_power();
                }
                self.expect_written(has_error);
                self.go_on();
            }
        }
    }

    /// Another process goes on. Of one that is gone it cannot know what that could not force to disk, so where an fsync has
    /// failed the machine is started anew, too, as its operator should.
    fn go_on(&self) {
        if self.disk.has_lost_writes() { self.disk.lose_power() } else { self.disk.lose_process() }
    }

    /// What was acknowledged must be there, as far as the system has it.
    fn expect_written(&mut self, has_error: bool) {
        if has_error || self.disk.has_lost_writes() || self.disk.fault() != Fault::None {
            return;
        }
        for client in &mut self.clients {
            client.is_written = true;
        }
    }

    /// Something happens.
    fn act(&mut self, seat: &Seat, writer: &mut Writer<Seat>) {
        for index in 0..CLIENTS {
            if self.rng.u8(..3) > 0 {
                self.append(index, seat);
            }
        }
        match self.rng.u8(..40) {
            0 => drop(seat.enter(|engine| engine.aof.phase == Phase::On && engine.start_rewrite())),
            1 => self.break_disk(),
            2..=5 => self.disk.set_fault(Fault::None),
            6 if self.rng.u8(..4) == 0 => {
                self.tell(|| "off".to_owned());
                let had_error = seat.enter(|engine| {
                    let had_error = engine.aof.write_error.is_some();
                    engine.stop_aof();
                    had_error
                });
                // What could not be written so far is tried once more, and may be lost to the end of the process.
                for client in self.clients.iter_mut().filter(|_| had_error) {
                    client.written = client.durable;
                }
            }
            7 => seat.enter(|engine| engine.start_aof()),
            _ => {}
        }
        if self.rng.u8(..6) == 0
            && let Some((request, path)) = { seat.0.bases.borrow_mut().pop_front() }
        {
            let outcome = aof::base::write(self.disk.clone(), &request, &path);
            if !self.disk.is_down() {
                self.tell(|| format!("base {} is written: {outcome:?}", request.number));
                writer.end_rewrite(request.number, outcome.map_err(|error| aof::reason(&error)));
            }
        }
    }

    fn break_disk(&mut self) {
        let count = if self.rng.bool() { 1 } else { self.rng.u32(1..8) };
        let fault = match self.rng.u8(..4) {
            0 => Fault::Writes(count),
            // Nobody promises anything about `no`, which forces to disk when a file is done with.
            1 if self.config.appendfsync != AppendFsync::No => Fault::Syncs(count),
            2 => Fault::Names(count),
            _ => Fault::NoSpace,
        };
        self.tell(|| format!("{fault:?}"));
        self.disk.set_fault(fault);
    }

    /// Sends the next record, unless the last one is still to be answered.
    fn append(&mut self, index: usize, seat: &Seat) {
        let client = &mut self.clients[index];
        if client.waiting.is_some() {
            return;
        }
        let record = client.sent + 1;
        let text = record.to_string();
        let mut reply = String::new();
        if record.is_multiple_of(5) {
            reply += &ask(seat, client.id, &["MULTI"]);
            reply += &ask(seat, client.id, &["SET", &format!("last:{}", client.name), &text]);
            reply += &ask(seat, client.id, &["RPUSH", &client.name, &text]);
            reply += &ask(seat, client.id, &["EXEC"]);
        } else {
            reply += &ask(seat, client.id, &["RPUSH", &client.name, &text]);
        }
        if reply.contains("-MISCONF") || reply.contains("-EXECABORT") {
            self.totals.refused += 1;
            return;
        }
        assert!(!reply.contains('-'), "{reply}");
        client.sent = record;
        let (wait, epoch, end) =
            seat.enter(|engine| (engine.aof_wait(), engine.aof.epoch, engine.role.stream().log.end_offset()));
        client.places.push_back((epoch, end, record));
        client.waiting = wait;
        if wait.is_none() {
            client.acknowledged = record;
        }
    }

    /// Looks who is answered, and what is on disk.
    fn poll(&mut self, seat: &Seat, is_healthy: bool) {
        let (fsynced, epoch, phase) =
            seat.enter(|engine| (engine.aof.fsynced(), engine.aof.epoch, engine.aof.phase));
        let suspends = self.config.no_appendfsync_on_rewrite;
        let now = self.clock.unix_micros() / 1000;
        for client in &mut self.clients {
            if let Some(wait) = client.waiting {
                let passage = seat.0.gate.pass(wait, Waker::noop());

                let is_forced = wait.until == Until::Forced;
                match passage {
                    Passage::Closed => {}
                    Passage::Failed if is_forced => {
                        self.totals.unknown += 1;
                        client.waiting = None;
                    }
                    Passage::Open | Passage::Failed => {
                        self.totals.acknowledged += 1;
                        client.waiting = None;
                        client.acknowledged = client.sent;
                        if passage == Passage::Open && wait.place.epoch == epoch && phase == Phase::On {
                            client.written = client.sent;
                            client.times.push_back((now, client.sent));
                            if is_forced && !suspends {
                                client.durable = client.sent;
                            }
                        }
                    }
                }
            }
            while let Some(&(of, end, record)) = client.places.front()
                && (of != epoch || fsynced.is_some_and(|fsynced| end <= fsynced))
            {
                client.places.pop_front();
                if of == epoch {
                    client.durable = client.durable.max(record);
                }
            }
            while let Some(&(at, record)) = client.times.front()
                && now - at > LOSS_MS_MAX
            {
                client.times.pop_front();
                if is_healthy && self.config.appendfsync == AppendFsync::EverySec && !suspends {
                    assert!(
                        record <= client.durable,
                        "{}: {record} is not on disk after a second",
                        client.name
                    );
                }
            }
        }
    }
}

/// Runs one request; the reply as text.
fn ask(seat: &Seat, client: ClientId, words: &[&str]) -> String {
    let args: OwnedArgs = words.iter().collect();
    let args = args.as_args();
    seat.enter(|engine| {
        dispatch::execute(engine, client, TABLE.lookup(&args), &args);
        let mut out = Vec::new();
        engine.clients.get_mut(client).expect("it is connected").swap_output(&mut out);
        String::from_utf8(out).expect("replies are text")
    })
}
