//! Cleaning up, in slices, behind commands that have removed many elements of a value at once.
//!
//! Nobody can tell whether it has been done: no reply, effect or digest depends on it, only memory does.

use super::dispatch;
use crate::engine::Engine;

/// Takes up to `max` steps; whether there are more to be taken.
pub fn sweep_slice(engine: &mut Engine, max: usize) -> bool {
    let Some((db_index, key)) = engine.to_sweep.front() else { return false };
    let (has_more, rest) = engine.keyspace.db_mut(*db_index).sweep(key, max);
    if !has_more {
        engine.to_sweep.pop_front();
    }
    engine.upkeep.discard(rest);
    dispatch::hand_out_garbage(engine);
    !engine.to_sweep.is_empty()
}
