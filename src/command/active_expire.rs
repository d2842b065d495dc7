//! The active expire cycle: removes keys and fields of hashes whose time has passed though nobody looks at them.
//!
//! It works in slices bounded by counts, so that it needs no clock; whoever drives it decides how many slices there is
//! time for. A slice goes on where the last one has ended, database by database.

use std::ops::Bound;

use super::dispatch;
use crate::engine::Engine;
use crate::storage::live::ExpiryPolicy;

/// Segments that one slice looks at. Most of them are passed over by one comparison.
const SEGMENTS_MAX: usize = 512;

/// What a slice looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Keys,
    Fields,
}

/// Removes up to `keys_max` keys that are due, and up to as many fields of hashes. Whether there may be more of them.
pub fn expire_slice(engine: &mut Engine, keys_max: usize) -> bool {
    // What is being loaded may still refer to keys whose time has passed.
    if engine.persistence.loading.is_some() {
        return false;
    }
    // A replica waits for its master's DEL, but for keys of its own, and nothing changes while writes are paused.
    if engine.active_expire_enabled && !engine.own_expiries.is_empty() && !engine.is_paused() {
        return expire_own_slice(engine, keys_max);
    }
    if !engine.active_expire_enabled || engine.expiry_policy() != ExpiryPolicy::Remove {
        return false;
    }
    let has_more_keys = expire_targets(engine, Target::Keys, keys_max);
    let has_more_fields = expire_targets(engine, Target::Fields, keys_max);
    has_more_keys || has_more_fields
}

/// Goes through the databases from where the last slice has ended, until `max` keys or fields are removed.
fn expire_targets(engine: &mut Engine, target: Target, max: usize) -> bool {
    let now = engine.now().0;
    let mut left = max;
    let mut due = Vec::new();
    for _ in 0..engine.keyspace.len() {
        let (db_index, from) = *cursor(engine, target);
        let db = engine.keyspace.db_mut(db_index);
        let mut next = match target {
            Target::Keys if db.expires_len() > 0 => db.due_keys(from, SEGMENTS_MAX, left, now, &mut due),
            Target::Fields if db.volatile_hashes_len() > 0 => {
                db.due_hashes(from, SEGMENTS_MAX, left, now, &mut due)
            }
            Target::Keys | Target::Fields => 0,
        };
        let mut is_used_up = due.len() == left;
        for key in due.drain(..) {
            if left == 0 {
                // Hashes that are still due.
                next = from;
                break;
            }
            left -= remove_due(engine, db_index, &key, target, left).min(left);
            is_used_up |= left == 0;
        }
        if is_used_up || next != 0 {
            *cursor(engine, target) = (db_index, next);
            return true;
        }
        *cursor(engine, target) = ((db_index + 1) % engine.keyspace.len(), 0);
    }
    false
}

/// Database and segment where the next slice goes on.
fn cursor(engine: &mut Engine, target: Target) -> &mut (usize, usize) {
    match target {
        Target::Keys => &mut engine.expire_cursor,
        Target::Fields => &mut engine.field_expire_cursor,
    }
}

/// Looks at up to `keys_max` of the keys that clients of this replica gave an expiry. Whether a round is still under way.
fn expire_own_slice(engine: &mut Engine, keys_max: usize) -> bool {
    if engine.role.is_master() {
        // From here on they expire as all others do.
        engine.own_expiries.clear();
        engine.own_expiries_seen = None;
        return true;
    }
    let from = engine.own_expiries_seen.take().map_or(Bound::Unbounded, Bound::Excluded);
    let places: Vec<(usize, Vec<u8>)> =
        engine.own_expiries.range((from, Bound::Unbounded)).take(keys_max).cloned().collect();
    let now = engine.now();
    for (db_index, key) in &places {
        let expires_at = engine.keyspace.db(*db_index).item(key).and_then(|item| item.expires_at);
        if expires_at.is_some_and(|at| at > now.0) {
            continue;
        }
        if expires_at.is_some() {
            dispatch::begin_removal(engine);
            engine.live_db(*db_index).expire(key);
            dispatch::conclude_removal(engine, *db_index);
        }
        engine.own_expiries.remove(&(*db_index, key.clone()));
    }
    let has_more = places.len() == keys_max;
    engine.own_expiries_seen = places.into_iter().next_back().filter(|_| has_more);
    has_more
}

/// Looking a key up removes it, here as anywhere; its DEL is a unit of its own, and so is the HDEL of each field. How many
/// keys or fields were removed.
fn remove_due(engine: &mut Engine, db_index: usize, key: &[u8], target: Target, max: usize) -> usize {
    dispatch::begin_removal(engine);
    let mut db = engine.live_db(db_index);
    let removed = match target {
        Target::Keys => usize::from(!db.contains(key)),
        Target::Fields => db.expire_due_fields(key, max),
    };
    dispatch::conclude_removal(engine, db_index);
    removed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{ManualClock, UnixMillis};
    use crate::command::{Lookup, TABLE, new_engine};
    use crate::config::Config;
    use crate::engine::ClientId;
    use crate::replication::replica::MasterAddr;
    use crate::resp::args::OwnedArgs;

    fn server() -> (Engine, ClientId, ManualClock) {
        let clock = ManualClock::new(UnixMillis(1_000_000));
        let mut engine = new_engine(Config::default(), Box::new(clock.clone()), 7);
        let now = engine.now();
        let client = engine.clients.connect(now);
        client.is_authenticated = true;
        let id = client.id;
        (engine, id, clock)
    }

    fn run(engine: &mut Engine, id: ClientId, request: &str) -> String {
        let args: OwnedArgs = request.split(' ').collect();
        let lookup = TABLE.lookup(&args.as_args());
        assert!(matches!(lookup, Lookup::Found(_)), "{request}");
        dispatch::execute(engine, id, lookup, &args.as_args());
        let out = std::mem::take(&mut engine.clients.get_mut(id).unwrap().out);
        String::from_utf8(out).unwrap()
    }

    fn fill(engine: &mut Engine, id: ClientId, keys: usize) {
        for n in 0..keys {
            run(engine, id, &format!("SET volatile:{n} x"));
            run(engine, id, &format!("PEXPIRE volatile:{n} {}", 1 + n % 50));
            run(engine, id, &format!("SET lasting:{n} x"));
        }
    }

    #[test]
    fn slices_remove_all_that_is_due_in_every_database_and_nothing_else() {
        let (mut engine, id, clock) = server();
        fill(&mut engine, id, 3000);
        run(&mut engine, id, "MOVE volatile:7 5");
        run(&mut engine, id, "SWAPDB 0 3");
        assert!(!expire_slice(&mut engine, 100));
        clock.advance_ms(60);
        engine.time.sample();
        let mut slices = 0;
        while expire_slice(&mut engine, 100) {
            slices += 1;
        }
        assert!(slices >= 29, "{slices}");
        // Another round sees what the first has begun behind.
        while expire_slice(&mut engine, 100) {}
        assert_eq!(engine.keyspace.keys_len(), 3000);
        assert_eq!(engine.stats.expired_keys, 3000);
    }

    #[test]
    fn a_slice_removes_no_more_keys_than_it_is_told() {
        let (mut engine, id, clock) = server();
        fill(&mut engine, id, 3);
        clock.advance_ms(60);
        engine.time.sample();
        assert_eq!(run(&mut engine, id, "DBSIZE"), ":6\r\n");
        expire_slice(&mut engine, 2);
        assert_eq!(run(&mut engine, id, "DBSIZE"), ":4\r\n");
        while expire_slice(&mut engine, 2) {}
        assert_eq!(run(&mut engine, id, "DBSIZE"), ":3\r\n");
    }

    #[test]
    fn nothing_expires_by_itself_when_that_is_switched_off_or_writes_are_paused() {
        let (mut engine, id, clock) = server();
        fill(&mut engine, id, 10);
        clock.advance_ms(60);
        engine.time.sample();
        engine.active_expire_enabled = false;
        assert!(!expire_slice(&mut engine, 100));
        engine.active_expire_enabled = true;
        let until = UnixMillis(engine.now().0 + 100);
        engine
            .pauses
            .set(crate::engine::PauseCause::Client, crate::engine::Pause { until, writes_only: true });
        assert!(!expire_slice(&mut engine, 100));
        assert_eq!(engine.keyspace.keys_len(), 20);
    }

    #[test]
    fn a_writable_replica_removes_what_its_own_clients_wrote_and_nothing_else() {
        let (mut engine, id, clock) = server();
        run(&mut engine, id, "SET of_master x PX 50");
        engine.follow(MasterAddr { host: "master".to_owned(), port: 1 });
        engine.config.replica_read_only = false;
        for n in 0..200 {
            run(&mut engine, id, &format!("SET own:{n} x PX 50"));
            run(&mut engine, id, &format!("SET later:{n} x"));
            run(&mut engine, id, &format!("EXPIRE later:{n} 1000"));
        }
        run(&mut engine, id, "PERSIST later:7");
        run(&mut engine, id, "DEL later:8");
        clock.advance_ms(60);
        engine.time.sample();
        let mut slices = 1;
        while expire_slice(&mut engine, 64) {
            slices += 1;
        }
        assert_eq!(slices, 400 / 64 + 1);
        assert_eq!(engine.keyspace.keys_len(), 200, "the master's key, and those that are not due");
        assert_eq!(engine.stats.expired_keys, 200);
        assert_eq!(engine.own_expiries.len(), 198);
        engine.stop_following();
        while expire_slice(&mut engine, 64) {}
        assert_eq!(engine.own_expiries.len(), 0);
        assert_eq!(engine.keyspace.keys_len(), 199);
    }

    #[test]
    fn a_scan_tells_every_key_that_is_there_all_the_time_while_others_come_and_go() {
        let (mut engine, id, _clock) = server();
        for n in 0..2000 {
            run(&mut engine, id, &format!("SET stays:{n} x"));
            run(&mut engine, id, &format!("SET goes:{n} x"));
        }
        let mut seen = std::collections::HashSet::new();
        let (mut cursor, mut step) = (String::from("0"), 0);
        loop {
            let reply = run(&mut engine, id, &format!("SCAN {cursor} COUNT 37"));
            let mut lines = reply.split("\r\n").filter(|line| !line.starts_with(['*', '$']));
            cursor = lines.next().unwrap().to_owned();
            seen.extend(lines.map(str::to_owned));
            if cursor == "0" {
                break;
            }
            // First the table grows, then it shrinks, so that segments split and merge under the cursor.
            for n in step * 60..(step + 1) * 60 {
                run(&mut engine, id, &format!("SET comes:{n} x"));
                run(&mut engine, id, &format!("DEL goes:{n} comes:{}", u32::wrapping_sub(n, 2000)));
            }
            step += 1;
        }
        assert!((0..2000).all(|n| seen.contains(&format!("stays:{n}"))));
    }

    #[test]
    fn slices_remove_all_fields_that_are_due_and_hashes_that_are_empty_then() {
        let (mut engine, id, clock) = server();
        for n in 0..500 {
            run(&mut engine, id, &format!("HSET both:{n} a 1 b 2"));
            run(&mut engine, id, &format!("HPEXPIRE both:{n} {} FIELDS 1 a", 1 + n % 50));
            run(&mut engine, id, &format!("HSET all:{n} a 1 b 2"));
            run(&mut engine, id, &format!("HPEXPIRE all:{n} {} FIELDS 2 a b", 1 + n % 50));
        }
        for n in 0..2000 {
            run(&mut engine, id, &format!("HSET large f:{n} 1"));
            run(&mut engine, id, &format!("HPEXPIRE large {} FIELDS 1 f:{n}", 1 + n % 100));
        }
        run(&mut engine, id, "MOVE both:7 5");
        run(&mut engine, id, "SWAPDB 0 3");
        assert_eq!(engine.keyspace.db(3).volatile_hashes_len(), 1000);
        assert!(!expire_slice(&mut engine, 100));
        clock.advance_ms(60);
        engine.time.sample();
        let mut slices = 0;
        while expire_slice(&mut engine, 100) {
            slices += 1;
        }
        assert!(slices >= 26, "{slices}");
        while expire_slice(&mut engine, 100) {}
        assert_eq!(engine.stats.expired_subkeys, 500 + 1000 + 1200);
        assert_eq!(engine.keyspace.keys_len(), 501);
        assert_eq!(engine.keyspace.db(3).volatile_hashes_len(), 1);
        run(&mut engine, id, "SELECT 3");
        assert_eq!(run(&mut engine, id, "HLEN large"), ":800\r\n");
        clock.advance_ms(60);
        engine.time.sample();
        while expire_slice(&mut engine, 100) {}
        assert_eq!(engine.keyspace.dbs().map(|db| db.volatile_hashes_len()).sum::<usize>(), 0);
    }

    #[test]
    fn a_slice_removes_no_more_fields_than_it_is_told() {
        let (mut engine, id, clock) = server();
        run(&mut engine, id, "HSET h a 1 b 2 c 3 d 4 e 5");
        run(&mut engine, id, "HPEXPIRE h 10 FIELDS 5 a b c d e");
        clock.advance_ms(60);
        engine.time.sample();
        for left in [3, 1] {
            assert!(expire_slice(&mut engine, 2));
            assert_eq!(run(&mut engine, id, "HLEN h"), format!(":{left}\r\n"));
        }
        expire_slice(&mut engine, 2);
        assert_eq!(run(&mut engine, id, "EXISTS h"), ":0\r\n");
        assert!(!expire_slice(&mut engine, 2));
    }
}
