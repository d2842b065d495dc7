//! Makes room when more than `maxmemory` is in use: removes keys by the policy in force, before a command runs and, in
//! slices, between batches.
//!
//! A slice ends when there is room, when nothing is left to remove, or when its time is used up; the clock is the
//! engine's. Within one stay in the engine time is used up once: each request behind makes a little room, whatever the
//! time, so that writers never outrun eviction, and the rest goes when others have had their turn.

use super::dispatch;
use crate::engine::eviction::Choice;
use crate::engine::{Engine, latency};
use crate::storage::db::Sampled;

/// Keys that are removed between two looks at the clock.
const KEYS_PER_LOOK: u32 = 16;

/// Keys that a request removes when the time of its stay is used up: they hold more than most requests add.
const KEYS_PER_LATE_REQUEST: u32 = 32;

/// What a slice has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Enough,
    /// There was no time for all.
    Running,
    /// Nothing is left that may be removed.
    Failed,
}

/// Makes room for a command, as far as there is time. False if there is none to be had.
pub fn make_room(engine: &mut Engine) -> bool {
    if !is_allowed(engine) {
        return true;
    }
    if engine.eviction.used_up_stay == Some(engine.time.stay()) {
        for _ in 0..KEYS_PER_LATE_REQUEST {
            if engine.excess_bytes() == 0 {
                break;
            }
            let Some((db_index, key)) = choose(engine) else { return false };
            remove(engine, db_index, &key);
        }
        return true;
    }
    slice(engine) != Outcome::Failed
}

/// Goes on where the time was used up; whether there is more to do. To be called between batches while
/// `Eviction::is_running`.
pub fn evict_slice(engine: &mut Engine) -> bool {
    if engine.config.maxmemory == 0 || !is_allowed(engine) {
        engine.eviction.is_running = false;
        return false;
    }
    slice(engine) == Outcome::Running
}

/// Whether the limit holds at this moment: not while data is loaded, nor while writes are paused, and for replicas only
/// if they are told to.
fn is_allowed(engine: &Engine) -> bool {
    let is_exempt = engine.config.replica_ignore_maxmemory && !engine.role.is_master();
    !is_exempt && !engine.is_paused() && engine.persistence.loading.is_none()
}

fn slice(engine: &mut Engine) -> Outcome {
    let mut outcome = Outcome::Enough;
    if engine.excess_bytes() > 0 {
        engine.forget_released_snapshots();
        let started = engine.time.monotonic_nanos();
        outcome = reclaim(engine, started);
        let nanos = engine.time.monotonic_nanos() - started;
        engine.note_latency(latency::EVICTION_CYCLE, nanos);
    }
    engine.eviction.is_running = outcome == Outcome::Running;
    if outcome == Outcome::Running {
        engine.eviction.used_up_stay = Some(engine.time.stay());
    }
    engine.note_memory_exceeded(outcome != Outcome::Enough);
    outcome
}

fn reclaim(engine: &mut Engine, started: u64) -> Outcome {
    let limit_nanos = time_limit_nanos(engine.config.maxmemory_eviction_tenacity);
    let mut removed = 0u32;
    while engine.excess_bytes() > 0 {
        let Some((db_index, key)) = choose(engine) else { return Outcome::Failed };
        remove(engine, db_index, &key);
        removed += 1;
        if removed.is_multiple_of(KEYS_PER_LOOK)
            && engine.time.monotonic_nanos() - started > limit_nanos
            && engine.excess_bytes() > 0
        {
            return Outcome::Running;
        }
    }
    Outcome::Enough
}

/// `maxmemory-eviction-tenacity` as Redis reads it: 50 microseconds for each of the first ten, from there on 15 percent
/// more with each, and no limit at 100.
fn time_limit_nanos(tenacity: u32) -> u64 {
    match tenacity {
        0..=10 => u64::from(tenacity) * 50_000,
        11..=99 => (500_000.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64,
        _ => u64::MAX,
    }
}

/// The next key to leave; none if no key may.
fn choose(engine: &mut Engine) -> Option<(usize, Vec<u8>)> {
    match engine.eviction_choice() {
        Choice::Nothing => None,
        Choice::Random(which) => choose_by_chance(engine, which),
        Choice::Ranked(which, ranking) => {
            let samples = engine.config.maxmemory_samples as usize;
            loop {
                let mut has_keys = false;
                for (db_index, db) in engine.keyspace.dbs().enumerate() {
                    if eligible_len(which, db) > 0 {
                        has_keys = true;
                        let pool = &mut engine.eviction.pool;
                        pool.add_samples((db_index, db), (which, samples), ranking, &mut engine.access_rng);
                    }
                }
                if !has_keys {
                    return None;
                }
                // Fresh samples are valid, so the second round finds one at the latest.
                if let Some(best) = engine.eviction.pool.take_best(&engine.keyspace, which, ranking) {
                    return Some(best);
                }
            }
        }
    }
}

/// A key of the next database that has any.
fn choose_by_chance(engine: &mut Engine, which: Sampled) -> Option<(usize, Vec<u8>)> {
    for _ in 0..engine.keyspace.len() {
        let db_index = engine.eviction.next_db % engine.keyspace.len();
        engine.eviction.next_db = db_index + 1;
        let mut chosen = None;
        let db = engine.keyspace.db(db_index);
        db.sample(which, 1, &mut engine.access_rng, |item| chosen = Some(item.key.to_vec()));
        if let Some(key) = chosen {
            return Some((db_index, key));
        }
    }
    None
}

fn eligible_len(which: Sampled, db: &crate::storage::Db) -> usize {
    match which {
        Sampled::AllKeys => db.len(),
        Sampled::Volatile => db.expires_len(),
    }
}

/// Removes one key, as a unit of its own.
fn remove(engine: &mut Engine, db_index: usize, key: &[u8]) {
    let started = engine.time.monotonic_nanos();
    dispatch::begin_removal(engine);
    if !engine.live_db(db_index).evict(key) {
        return;
    }
    engine.effects.evicted(db_index, key, engine.config.lazyfree_lazy_eviction);
    engine.stats.evicted_keys += 1;
    dispatch::conclude_removal(engine, db_index);
    if engine.config.latency_monitor_threshold > 0 {
        let nanos = engine.time.monotonic_nanos() - started;
        engine.note_latency(latency::EVICTION_DEL, nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, ManualClock, UnixMillis};
    use crate::command::{TABLE, new_engine};
    use crate::config::{Config, MaxmemoryPolicy};
    use crate::engine::ClientId;
    use crate::resp::args::OwnedArgs;

    const KEY_BYTES: u64 = 100;

    fn server(config: Config, clock: impl Clock + 'static) -> (Engine, ClientId) {
        let mut engine = new_engine(config, Box::new(clock), 7);
        engine.memory_meter = |engine| KEY_BYTES * engine.keyspace.keys_len() as u64;
        let now = engine.now();
        let client = engine.clients.connect(now);
        client.is_authenticated = true;
        let id = client.id;
        (engine, id)
    }

    fn with_policy(maxmemory_policy: MaxmemoryPolicy, keys_max: u64) -> Config {
        Config { maxmemory_policy, maxmemory: keys_max * KEY_BYTES, ..Config::default() }
    }

    fn run(engine: &mut Engine, id: ClientId, request: &str) -> String {
        let args: OwnedArgs = request.split(' ').collect();
        dispatch::execute(engine, id, TABLE.lookup(&args.as_args()), &args.as_args());
        String::from_utf8(std::mem::take(&mut engine.clients.get_mut(id).unwrap().out)).unwrap()
    }

    /// Reads keys of which a few are asked for often, as a cache is used: what is missing is stored. The share of hits
    /// in the second half.
    fn hit_rate(policy: MaxmemoryPolicy) -> f64 {
        const KEYS: u32 = 4000;
        let clock = ManualClock::new(UnixMillis(1_000_000));
        // Room for a fifth of the keys.
        let (mut engine, id) = server(with_policy(policy, 800), clock.clone());
        let mut rng = fastrand::Rng::with_seed(11);
        let (mut hits, requests) = (0, 60_000);
        for n in 0..requests {
            clock.advance_ms(20);
            engine.time.sample();
            // Four of five requests go to the 400 hot keys.
            let key = if rng.u32(..5) < 4 { rng.u32(..400) } else { rng.u32(400..KEYS) };
            if run(&mut engine, id, &format!("GET k:{key}")) == "$-1\r\n" {
                run(&mut engine, id, &format!("SET k:{key} x EX 100000"));
            } else if n >= requests / 2 {
                hits += 1;
            }
        }
        assert!(engine.keyspace.keys_len() <= 801);
        f64::from(hits) / f64::from(requests / 2)
    }

    #[test]
    fn lru_and_lfu_keep_the_keys_that_are_asked_for() {
        // A perfect cache would have four fifths and a bit: the hot keys, and 400 of the 3600 others.
        let [random, lru, lfu, volatile_lru, volatile_lfu] = [
            MaxmemoryPolicy::AllkeysRandom,
            MaxmemoryPolicy::AllkeysLru,
            MaxmemoryPolicy::AllkeysLfu,
            MaxmemoryPolicy::VolatileLru,
            MaxmemoryPolicy::VolatileLfu,
        ]
        .map(hit_rate);
        println!("{random:.3} {lru:.3} {lfu:.3} {volatile_lru:.3} {volatile_lfu:.3}");
        assert!(random < 0.70, "{random}");
        assert!(lru > 0.79 && volatile_lru > 0.79, "{lru} {volatile_lru}");
        assert!(lfu > 0.78 && volatile_lfu > 0.78, "{lfu} {volatile_lfu}");
    }

    #[test]
    fn what_expires_first_leaves_first() {
        let (mut engine, id) =
            server(with_policy(MaxmemoryPolicy::VolatileTtl, 0), ManualClock::new(UnixMillis(0)));
        for n in 0..1000 {
            run(&mut engine, id, &format!("SET k:{n} x EX {}", 1000 + n));
            run(&mut engine, id, &format!("SET lasting:{n} x"));
        }
        engine.config.maxmemory = 1500 * KEY_BYTES;
        assert!(make_room(&mut engine));
        assert_eq!(engine.keyspace.keys_len(), 1500);
        assert_eq!(engine.stats.evicted_keys, 500);
        let late = (500..1000).filter(|n| run(&mut engine, id, &format!("EXISTS k:{n}")) == ":1\r\n").count();
        assert!(late > 460, "{late}");
        let lasting =
            (0..1000).filter(|n| run(&mut engine, id, &format!("EXISTS lasting:{n}")) == ":1\r\n").count();
        assert_eq!(lasting, 1000);
        engine.config.maxmemory = 900 * KEY_BYTES;
        assert!(!make_room(&mut engine), "nothing volatile is left");
        assert_eq!(engine.keyspace.keys_len(), 1000);
    }

    #[test]
    fn random_policies_take_from_every_database() {
        let (mut engine, id) =
            server(with_policy(MaxmemoryPolicy::AllkeysRandom, 0), ManualClock::new(UnixMillis(0)));
        for n in 0..1000 {
            run(&mut engine, id, &format!("SELECT {}", n % 4));
            run(&mut engine, id, &format!("SET k:{n} x"));
        }
        engine.config.maxmemory = 600 * KEY_BYTES;
        assert!(make_room(&mut engine));
        let lens: Vec<usize> = engine.keyspace.dbs().take(4).map(crate::storage::Db::len).collect();
        assert_eq!(lens, [150; 4]);
    }

    /// A clock on which every reading takes ten microseconds.
    struct SlowClock(std::cell::Cell<u64>);

    impl Clock for SlowClock {
        fn unix_micros(&self) -> i64 {
            self.monotonic_nanos() as i64 / 1000
        }

        fn monotonic_nanos(&self) -> u64 {
            self.0.set(self.0.get() + 10_000);
            self.0.get()
        }

        fn wait(&self, _: std::time::Duration) {}
    }

    #[test]
    fn a_large_deficit_is_worked_off_in_slices_between_batches() {
        let (mut engine, id) =
            server(with_policy(MaxmemoryPolicy::AllkeysLru, 0), SlowClock(std::cell::Cell::new(0)));
        for n in 0..5000 {
            run(&mut engine, id, &format!("SET k:{n} x"));
        }
        engine.config.maxmemory = 100 * KEY_BYTES;
        engine.time.sample();
        assert_eq!(run(&mut engine, id, "SET more x"), "+OK\r\n", "there will be room");
        let after_first = engine.keyspace.keys_len();
        assert!((4000..5000).contains(&after_first), "{after_first}");
        assert!(engine.eviction.is_running);
        for n in 0..20 {
            run(&mut engine, id, &format!("SET more:{n} x"));
        }
        // The time of this stay is used up, but not everything is left for later.
        assert_eq!(engine.keyspace.keys_len(), after_first + 20 - 20 * KEYS_PER_LATE_REQUEST as usize);
        let mut slices = 0;
        loop {
            engine.time.sample();
            slices += 1;
            if !evict_slice(&mut engine) {
                break;
            }
        }
        assert!(slices > 5, "{slices}");
        assert!(engine.keyspace.keys_len() <= 100);
        assert!(!engine.eviction.is_running);
        let (current_ms, total_ms) = engine.eviction_exceeded_ms();
        assert!(current_ms == 0 && total_ms > 5, "{current_ms} {total_ms}");
    }

    #[test]
    fn the_time_for_a_slice_grows_with_the_tenacity() {
        let limits = [0, 1, 10, 11, 99, 100].map(time_limit_nanos);
        assert_eq!(limits[..4], [0, 50_000, 500_000, 575_000]);
        assert!(limits[4] > 100_000_000_000 && limits[5] == u64::MAX);
    }

    #[test]
    fn nothing_is_removed_while_a_value_on_its_way_out_makes_room_enough() {
        let (mut engine, id) =
            server(with_policy(MaxmemoryPolicy::AllkeysLru, 10), ManualClock::new(UnixMillis(0)));
        // What is freed elsewhere counts until it is freed.
        engine.memory_meter =
            |engine| KEY_BYTES * engine.keyspace.keys_len() as u64 + engine.lazyfree.pending_bytes();
        for n in 0..10 {
            run(&mut engine, id, &format!("SET k:{n} x"));
        }
        assert_eq!(run(&mut engine, id, "FLUSHDB"), "+OK\r\n");
        assert_eq!(engine.lazyfree.pending_bytes(), 10 * KEY_BYTES);
        run(&mut engine, id, "SET new x");
        assert_eq!(run(&mut engine, id, "SET newer x"), "+OK\r\n");
        assert_eq!(engine.stats.evicted_keys, 0);
        assert_eq!(engine.keyspace.keys_len(), 2);
    }

    #[test]
    fn what_a_snapshot_holds_is_not_counted() {
        let (mut engine, id) =
            server(with_policy(MaxmemoryPolicy::AllkeysRandom, 1000), ManualClock::new(UnixMillis(0)));
        engine.memory_meter =
            |engine| KEY_BYTES * engine.keyspace.keys_len() as u64 + engine.keyspace.snapshot_bytes();
        for n in 0..1000 {
            run(&mut engine, id, &format!("SET k:{n} x"));
        }
        let snapshot = engine.keyspace.clone();
        for n in 0..1000 {
            run(&mut engine, id, &format!("SET k:{n} y"));
        }
        assert!(engine.keyspace.snapshot_bytes() > 10_000);
        assert_eq!(engine.stats.evicted_keys, 0);
        drop(snapshot);
        assert_eq!(engine.keyspace.snapshot_bytes(), 0);
    }
}
