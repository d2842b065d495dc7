//! What a data command may reach: the keys of one database, the reply, time, chance and the effects. Nothing else.

use crate::base::clock::UnixMillis;
use crate::config::Config;
use crate::engine::effects::{Effects, KEY_MISS_EVENT, NO_EVENT, Propagation};
use crate::engine::long_read::LateReplies;
use crate::engine::{ClientId, Engine};
use crate::resp::reply::Reply;
use crate::storage::LiveDb;
use crate::storage::live::{AccessPolicy, ExpiryPolicy, View};

pub struct Ctx<'a> {
    pub db: LiveDb<'a>,
    pub reply: Reply<'a>,
    pub rng: &'a mut fastrand::Rng,
    pub config: &'a Config,
    /// The instant at which the command runs; it stands still meanwhile.
    pub now: UnixMillis,
    pub db_index: usize,
    /// The command comes from the master, or from a log, and is applied whatever the limits here are.
    pub must_obey: bool,
    /// Where a long reply goes that need not be written while others wait.
    pub late: LateReplies<'a>,
    /// A script runs the command.
    pub is_scripted: bool,
    /// What an access does to a value, whatever CLIENT NO-TOUCH says.
    pub access: AccessPolicy,
    effects: &'a mut Effects,
}

impl<'a> Ctx<'a> {
    /// Borrows from the engine what a command of client `id` needs to work on `db_index`.
    pub fn new(engine: &'a mut Engine, id: ClientId, db_index: usize, expiry: ExpiryPolicy) -> Option<Self> {
        let access = engine.access_policy();
        let now = engine.now();
        let client = engine.clients.get_mut(id)?;
        let access_of_client = if client.is_no_touch { AccessPolicy::Leave } else { access };
        let view = View { now, expiry, access: access_of_client, limits: &engine.limits };
        let db = engine.keyspace.db_mut(db_index);
        Some(Self {
            db: LiveDb::new(db, view, &mut engine.access_rng, &mut engine.upkeep),
            reply: client.reply(),
            rng: &mut engine.rng,
            config: &engine.config,
            now,
            db_index,
            must_obey: expiry == ExpiryPolicy::Ignore,
            late: LateReplies::new(engine.long_reads, &mut engine.late_reply),
            is_scripted: engine.scripting.running.is_some(),
            access,
            effects: &mut engine.effects,
        })
    }

    /// What a command works on that only looks, at frozen data, while the engine goes on.
    pub(super) fn beside_the_engine(
        db: LiveDb<'a>,
        reply: Reply<'a>,
        rng: &'a mut fastrand::Rng,
        config: &'a Config,
        db_index: usize,
        effects: &'a mut Effects,
    ) -> Self {
        let now = db.now();
        Self {
            db,
            reply,
            rng,
            config,
            now,
            db_index,
            must_obey: false,
            late: LateReplies::none(),
            is_scripted: false,
            access: AccessPolicy::Leave,
            effects,
        }
    }

    /// What a command of client `id` works on when nothing else is said: its own database.
    pub fn of_client(engine: &'a mut Engine, id: ClientId) -> Option<Self> {
        let db_index = engine.clients.get(id)?.db_index;
        let expiry = engine.expiry_policy_for(id);
        Self::new(engine, id, db_index, expiry)
    }

    /// Output above which the client is closed anyway (`client-output-buffer-limit`), so that writing on is in vain.
    pub fn reply_bytes_max(&self) -> usize {
        match self.config.client_output_buffer_limits.normal.hard_bytes {
            0 => usize::MAX,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        }
    }

    /// Says that `key` has changed: counts a change, wakes those who wait for it, and the command is propagated.
    pub fn modified(&mut self, key: &[u8], event: &'static str) {
        self.record_expired();
        self.effects.modified(self.db_index, key, event);
    }

    /// Says that `key` has changed in a way that clients are not told of: no keyspace event, but all else as `modified`.
    pub fn modified_silently(&mut self, key: &[u8]) {
        self.modified(key, NO_EVENT);
    }

    /// Removes `key` if its collection has become empty, with the event that tells of it.
    pub fn remove_if_empty<T: crate::storage::value::Collection + 'static>(&mut self, key: &[u8]) {
        if self.db.remove_if_empty::<T>(key) {
            self.effects.event(self.db_index, key, "del");
        }
    }

    /// An event that is no change of its own.
    pub fn event(&mut self, key: &[u8], event: &'static str) {
        self.record_expired();
        self.effects.event(self.db_index, key, event);
    }

    /// Counts more changes than `modified` has counted, as Redis counts elements.
    pub fn add_dirty(&mut self, changes: u64) {
        self.effects.dirty += changes;
    }

    /// Counts fields of hashes that were removed because their new time had passed already.
    pub fn count_expired_fields(&mut self, fields: usize) {
        self.effects.expired_fields += fields as u64;
    }

    /// Propagates this instead of the command as it came. May be called several times, in order.
    pub fn propagate_as<A: AsRef<[u8]>>(
        &mut self,
        args: impl IntoIterator<Item = A, IntoIter: ExactSizeIterator>,
    ) {
        // Keys that expired under this command go first, as they went first here.
        self.record_expired();
        self.effects.propagation = Propagation::Replaced;
        self.effects.propagate_command(self.db_index, args);
    }

    /// Propagates that a key was removed in its command's place; `is_lazy` as the parameter of `lazyfree-lazy-*` that it goes by.
    pub fn propagate_removal(&mut self, key: &[u8], is_lazy: bool) {
        self.propagate_as([if is_lazy { &b"UNLINK"[..] } else { b"DEL" }, key]);
    }

    /// Draws the consequences of keys and fields that have expired under this command so far. The dispatcher does so for the
    /// client's own database; a command that looks into another one has to before it leaves it.
    pub fn record_expired(&mut self) {
        if !self.db.has_notes() {
            return;
        }
        for key in self.db.take_expired() {
            self.effects.expired(self.db_index, &key);
        }
        for key in self.db.take_missed() {
            self.effects.event(self.db_index, &key, KEY_MISS_EVENT);
        }
        for expired in self.db.take_expired_fields() {
            self.effects.fields_expired(self.db_index, &expired);
        }
    }

    /// Whether effects are recorded at all: nobody need put together what nobody reads.
    pub fn is_propagating(&self) -> bool {
        self.effects.is_propagating
    }

    /// Propagates nothing, whatever has changed.
    pub fn propagate_nothing(&mut self) {
        self.effects.propagation = Propagation::Replaced;
    }
}

#[cfg(test)]
mod tests {
    use crate::base::clock::{ManualClock, UnixMillis};
    use crate::command::{TABLE, dispatch, new_engine};
    use crate::config::Config;
    use crate::resp::args::OwnedArgs;

    #[test]
    fn random_draws_end_once_the_client_is_to_be_closed_for_its_output() {
        let mut engine = new_engine(Config::default(), Box::new(ManualClock::new(UnixMillis(0))), 7);
        engine.config.client_output_buffer_limits.normal.hard_bytes = 1000;
        let now = engine.now();
        let client = engine.clients.connect(now);
        client.is_authenticated = true;
        let id = client.id;
        let mut run = |request: &str| {
            let args: OwnedArgs = request.split(' ').collect();
            dispatch::execute(&mut engine, id, TABLE.lookup(&args.as_args()), &args.as_args());
            std::mem::take(&mut engine.clients.get_mut(id).unwrap().out).len()
        };
        for (fill, draw) in [
            ("HSET h field value", "HRANDFIELD h -9223372036854775807"),
            ("SADD s member", "SRANDMEMBER s -9223372036854775807"),
            ("ZADD z 1 member", "ZRANDMEMBER z -9223372036854775807"),
        ] {
            run(fill);
            let bytes = run(draw);
            assert!((1000..1 << 20).contains(&bytes), "{draw}: {bytes}");
        }
    }
}
