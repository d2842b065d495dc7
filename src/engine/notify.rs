//! Keyspace notifications: changes of keys as messages, for those who listen to a key or to an event.
//!
//! `notify-keyspace-events` says which classes of events are told, and on which of the two kinds of channel. The
//! messages stay in this server: a replica tells of the changes that it makes itself.

use super::Engine;
use super::effects::{EXPIRED_EVENT, KEY_MISS_EVENT, Modification, NEW_KEY_EVENT, NO_EVENT};
use crate::config::NotifyFlags;

impl Engine {
    /// Tells subscribers of keyspace events about a change.
    pub fn notify(&mut self, change: &Modification) {
        let wanted = self.config.notify_keyspace_events;
        if wanted.is_empty() || change.event == NO_EVENT || !wanted.contains(class_of(change.event)) {
            return;
        }
        if wanted.contains(NotifyFlags::KEYSPACE) {
            let mut channel = format!("__keyspace@{}__:", change.db_index).into_bytes();
            channel.extend_from_slice(&change.key);
            self.publish(&channel, change.event.as_bytes());
        }
        if wanted.contains(NotifyFlags::KEYEVENT) {
            let channel = format!("__keyevent@{}__:{}", change.db_index, change.event);
            self.publish(channel.as_bytes(), &change.key);
        }
    }
}

/// The class of an event. What is not about one type of value is generic.
fn class_of(event: &str) -> NotifyFlags {
    match event {
        "set" | "append" | "setrange" | "setbit" | "incrby" | "incrbyfloat" | "pfadd" => NotifyFlags::STRING,
        "lpush" | "rpush" | "lpop" | "rpop" | "linsert" | "lset" | "lrem" | "ltrim" | "sortstore" => {
            NotifyFlags::LIST
        }
        "sadd" | "srem" | "spop" | "sinterstore" | "sunionstore" | "sdiffstore" => NotifyFlags::SET,
        NEW_KEY_EVENT => NotifyFlags::NEW,
        EXPIRED_EVENT => NotifyFlags::EXPIRED,
        KEY_MISS_EVENT => NotifyFlags::KEY_MISS,
        "evicted" => NotifyFlags::EVICTED,
        _ if event.starts_with('h') => NotifyFlags::HASH,
        "geosearchstore" | "georadiusstore" => NotifyFlags::ZSET,
        _ if event.starts_with('z') => NotifyFlags::ZSET,
        _ if event.starts_with('x') => NotifyFlags::STREAM,
        _ => NotifyFlags::GENERIC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_class_that_their_letter_asks_for() {
        let classes = [
            (
                NotifyFlags::GENERIC,
                "del expire persist restore rename_from rename_to move_from move_to copy_to",
            ),
            (NotifyFlags::STRING, "set append setrange setbit incrby incrbyfloat pfadd"),
            (NotifyFlags::LIST, "lpush rpush lpop rpop linsert lset lrem ltrim sortstore"),
            (NotifyFlags::SET, "sadd srem spop sinterstore sunionstore sdiffstore"),
            (NotifyFlags::HASH, "hset hdel hincrby hincrbyfloat hexpire hexpired hpersist"),
            (
                NotifyFlags::ZSET,
                "zadd zincr zrem zpopmin zremrangebyscore zunionstore zrangestore geosearchstore",
            ),
            (NotifyFlags::EXPIRED, "expired"),
            (NotifyFlags::NEW, "new"),
            (NotifyFlags::KEY_MISS, "keymiss"),
        ];
        for (class, events) in classes {
            for event in events.split(' ') {
                assert_eq!(class_of(event), class, "{event}");
            }
        }
    }
}
