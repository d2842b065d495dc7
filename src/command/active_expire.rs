//! The active expire cycle: removes keys whose time has passed though nobody looks at them.
//!
//! It works in slices bounded by counts, so that it needs no clock; whoever drives it decides how many slices there is
//! time for. A slice goes on where the last one has ended, database by database.

use std::ops::Bound;

use super::dispatch;
use crate::engine::Engine;
use crate::storage::live::ExpiryPolicy;

/// Segments that one slice looks at. Most of them are passed over by one comparison.
const SEGMENTS_MAX: usize = 512;

/// Removes up to `keys_max` keys that are due. Whether there may be more of them.
pub fn expire_slice(engine: &mut Engine, keys_max: usize) -> bool {
    // A replica waits for its master's DEL, but for keys of its own, and nothing changes while writes are paused.
    if engine.active_expire_enabled && !engine.own_expiries.is_empty() && !engine.is_paused() {
        return expire_own_slice(engine, keys_max);
    }
    if !engine.active_expire_enabled || engine.expiry_policy() != ExpiryPolicy::Remove {
        return false;
    }
    let now = engine.now();
    let mut keys_left = keys_max;
    let mut due = Vec::new();
    for _ in 0..engine.keyspace.len() {
        let (db_index, from) = engine.expire_cursor;
        let db = engine.keyspace.db_mut(db_index);
        let mut next = 0;
        if db.expires_len() > 0 {
            next = db.due_keys(from, SEGMENTS_MAX, keys_left, now.0, &mut due);
        }
        let is_used_up = due.len() == keys_left;
        keys_left -= due.len();
        for key in due.drain(..) {
            remove_due(engine, db_index, &key);
        }
        if is_used_up || next != 0 {
            engine.expire_cursor = (db_index, next);
            return true;
        }
        engine.expire_cursor = ((db_index + 1) % engine.keyspace.len(), 0);
    }
    false
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

/// Looking a key up removes it, here as anywhere; its DEL is a unit of its own.
fn remove_due(engine: &mut Engine, db_index: usize, key: &[u8]) {
    dispatch::begin_removal(engine);
    engine.live_db(db_index).contains(key);
    dispatch::conclude_removal(engine, db_index);
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
        engine.pause = Some(crate::engine::Pause { until, writes_only: true });
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
}
