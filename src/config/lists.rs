//! Parameters that are several words: addresses, save points, buffer limits, event classes, percentiles.

use std::str::FromStr;

use super::setting::{Reason, Rule, Setting, only, parse_memory, show_memory};
use super::words;

/// A snapshot is due `seconds` after the last one if there were at least `changes` changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: u64,
    pub changes: u64,
}

impl Setting for Vec<SavePoint> {
    fn assign(&mut self, args: &[&str], _: &Rule) -> Result<(), Reason> {
        const INVALID: &str = "Invalid save parameters";
        let args = if args == [""] { &[] } else { args };
        let (pairs, []) = args.as_chunks::<2>() else { return Err(INVALID.into()) };
        let mut points = Vec::new();
        for [seconds, changes] in pairs {
            let seconds = seconds.parse().ok().filter(|&seconds| seconds >= 1).ok_or(INVALID)?;
            let changes = changes.parse().map_err(|_| INVALID)?;
            points.push(SavePoint { seconds, changes });
        }
        *self = points;
        Ok(())
    }

    fn show(&self, _: &Rule) -> String {
        let points: Vec<String> =
            self.iter().map(|point| format!("{} {}", point.seconds, point.changes)).collect();
        points.join(" ")
    }

    fn lines(&self, _: &Rule) -> Vec<String> {
        if self.is_empty() {
            return vec!["\"\"".to_owned()];
        }
        self.iter().map(|point| format!("{} {}", point.seconds, point.changes)).collect()
    }

    fn placeholder(&self, _: &Rule) -> &'static str {
        "SECONDS CHANGES"
    }
}

/// Addresses to listen on; a leading `-` forgives one that is not there.
impl Setting for Vec<String> {
    fn assign(&mut self, args: &[&str], _: &Rule) -> Result<(), Reason> {
        const BIND_ADDRESSES_MAX: usize = 16;
        if args.len() > BIND_ADDRESSES_MAX {
            return Err("Too many bind addresses specified.".into());
        }
        let args = if args == [""] { &[] } else { args };
        *self = args.iter().map(|&address| address.to_owned()).collect();
        Ok(())
    }

    fn show(&self, _: &Rule) -> String {
        self.join(" ")
    }

    fn lines(&self, _: &Rule) -> Vec<String> {
        if self.is_empty() {
            return vec!["\"\"".to_owned()];
        }
        let addresses: Vec<String> = self.iter().map(|address| words::quote_if_needed(address)).collect();
        vec![addresses.join(" ")]
    }

    fn placeholder(&self, _: &Rule) -> &'static str {
        "ADDRESS..."
    }
}

/// Where a master is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl Setting for Option<HostPort> {
    fn assign(&mut self, args: &[&str], _: &Rule) -> Result<(), Reason> {
        *self = match args {
            [""] => None,
            [no, one] if no.eq_ignore_ascii_case("no") && one.eq_ignore_ascii_case("one") => None,
            [host, port] => {
                let port = port.parse().map_err(|_| "Invalid master port")?;
                Some(HostPort { host: (*host).to_owned(), port })
            }
            _ => return Err("wrong number of arguments".into()),
        };
        Ok(())
    }

    fn show(&self, _: &Rule) -> String {
        self.as_ref().map_or(String::new(), |master| format!("{} {}", master.host, master.port))
    }

    fn lines(&self, _: &Rule) -> Vec<String> {
        self.iter()
            .map(|master| format!("{} {}", words::quote_if_needed(&master.host), master.port))
            .collect()
    }

    fn placeholder(&self, _: &Rule) -> &'static str {
        "HOST PORT"
    }
}

/// When a client that does not read its replies is closed; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputBufferLimit {
    pub hard_bytes: u64,
    pub soft_bytes: u64,
    /// How long the buffer may stay above `soft_bytes`.
    pub soft_seconds: u64,
}

/// One limit for each class of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputBufferLimits {
    pub normal: OutputBufferLimit,
    pub replica: OutputBufferLimit,
    pub pubsub: OutputBufferLimit,
}

impl Default for OutputBufferLimits {
    fn default() -> Self {
        let limit = |hard_mb: u64, soft_mb: u64, soft_seconds| OutputBufferLimit {
            hard_bytes: hard_mb << 20,
            soft_bytes: soft_mb << 20,
            soft_seconds,
        };
        Self { normal: limit(0, 0, 0), replica: limit(256, 64, 60), pubsub: limit(32, 8, 60) }
    }
}

impl OutputBufferLimits {
    fn class_mut(&mut self, name: &str) -> Option<&mut OutputBufferLimit> {
        match name.to_ascii_lowercase().as_str() {
            "normal" => Some(&mut self.normal),
            "replica" | "slave" => Some(&mut self.replica),
            "pubsub" => Some(&mut self.pubsub),
            _ => None,
        }
    }
}

impl Setting for OutputBufferLimits {
    /// Classes that are not named keep their limits.
    fn assign(&mut self, args: &[&str], _: &Rule) -> Result<(), Reason> {
        let (classes, []) = args.as_chunks::<4>() else {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        };
        for [class, hard, soft, seconds] in classes {
            let limit = self
                .class_mut(class)
                .ok_or("Invalid client class specified in buffer limit configuration.")?;
            *limit = parse_limit(hard, soft, seconds)
                .ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
        }
        Ok(())
    }

    fn show(&self, _: &Rule) -> String {
        let classes = [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)];
        classes
            .map(|(name, limit)| {
                format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
            })
            .join(" ")
    }

    fn lines(&self, _: &Rule) -> Vec<String> {
        let classes = [("normal", self.normal), ("replica", self.replica), ("pubsub", self.pubsub)];
        let line = |(name, limit): (&str, OutputBufferLimit)| {
            let (hard, soft) = (show_memory(limit.hard_bytes), show_memory(limit.soft_bytes));
            format!("{name} {hard} {soft} {}", limit.soft_seconds)
        };
        classes.map(line).to_vec()
    }

    fn placeholder(&self, _: &Rule) -> &'static str {
        "CLASS HARD SOFT SECONDS"
    }
}

fn parse_limit(hard: &str, soft: &str, seconds: &str) -> Option<OutputBufferLimit> {
    Some(OutputBufferLimit {
        hard_bytes: parse_memory(hard)?,
        soft_bytes: parse_memory(soft)?,
        soft_seconds: seconds.parse().ok()?,
    })
}

/// The classes of keyspace events that are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NotifyFlags(u16);

impl NotifyFlags {
    pub const KEYSPACE: Self = Self(1);
    pub const KEYEVENT: Self = Self(1 << 1);
    pub const GENERIC: Self = Self(1 << 2);
    pub const STRING: Self = Self(1 << 3);
    pub const LIST: Self = Self(1 << 4);
    pub const SET: Self = Self(1 << 5);
    pub const HASH: Self = Self(1 << 6);
    pub const ZSET: Self = Self(1 << 7);
    pub const EXPIRED: Self = Self(1 << 8);
    pub const EVICTED: Self = Self(1 << 9);
    pub const STREAM: Self = Self(1 << 10);
    pub const MODULE: Self = Self(1 << 11);
    /// A key was looked up and not found. Not part of `A`.
    pub const KEY_MISS: Self = Self(1 << 12);
    /// A key came into being. Not part of `A`.
    pub const NEW: Self = Self(1 << 13);
    /// What `A` stands for.
    pub const ALL: Self = Self(0b1111_1111_1100);

    /// In the order in which Redis shows them.
    const LETTERS: [(char, Self); 14] = [
        ('g', Self::GENERIC),
        ('$', Self::STRING),
        ('l', Self::LIST),
        ('s', Self::SET),
        ('h', Self::HASH),
        ('z', Self::ZSET),
        ('x', Self::EXPIRED),
        ('e', Self::EVICTED),
        ('t', Self::STREAM),
        ('d', Self::MODULE),
        ('n', Self::NEW),
        ('K', Self::KEYSPACE),
        ('E', Self::KEYEVENT),
        ('m', Self::KEY_MISS),
    ];

    /// True when every class of `other` is among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn letters(self) -> String {
        let all = self.contains(Self::ALL);
        let mut text = if all { "A".to_owned() } else { String::new() };
        let shown =
            |&&(_, class): &&(char, Self)| self.contains(class) && !(all && Self::ALL.contains(class));
        text.extend(Self::LETTERS.iter().filter(shown).map(|(letter, _)| letter));
        text
    }
}

impl Setting for NotifyFlags {
    fn assign(&mut self, args: &[&str], _: &Rule) -> Result<(), Reason> {
        let mut flags = Self::default();
        for letter in only(args)?.chars() {
            let known = Self::LETTERS.iter().find(|(known, _)| *known == letter).map(|(_, class)| *class);
            let class = known.or((letter == 'A').then_some(Self::ALL));
            flags = flags.union(class.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?);
        }
        *self = flags;
        Ok(())
    }

    /// Redis leaves the `n` out beside an `A`.
    fn show(&self, _: &Rule) -> String {
        let letters = self.letters();
        if letters.starts_with('A') { letters.replace('n', "") } else { letters }
    }

    fn lines(&self, _: &Rule) -> Vec<String> {
        vec![words::quote(&self.letters())]
    }

    fn placeholder(&self, _: &Rule) -> &'static str {
        "CLASSES"
    }
}

/// Which latency percentiles INFO shows.
impl Setting for Vec<f64> {
    fn assign(&mut self, args: &[&str], _: &Rule) -> Result<(), Reason> {
        let args = if args == [""] { &[] } else { args };
        let mut percentiles = Vec::new();
        for text in args {
            let value =
                f64::from_str(text).map_err(|_| "Invalid latency-tracking-info-percentiles parameters")?;
            if !(0.0..=100.0).contains(&value) {
                return Err(
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into()
                );
            }
            percentiles.push(value);
        }
        *self = percentiles;
        Ok(())
    }

    fn show(&self, _: &Rule) -> String {
        let percentiles: Vec<String> = self.iter().map(f64::to_string).collect();
        percentiles.join(" ")
    }

    fn lines(&self, rule: &Rule) -> Vec<String> {
        vec![if self.is_empty() { "\"\"".to_owned() } else { self.show(rule) }]
    }
}

/// The OOM killer's scores of a master, a replica and a saving child.
impl Setting for [i32; 3] {
    fn assign(&mut self, args: &[&str], _: &Rule) -> Result<(), Reason> {
        let Ok(args) = <[&str; 3]>::try_from(args) else {
            return Err("wrong number of arguments".into());
        };
        for (value, text) in self.iter_mut().zip(args) {
            *value = text
                .parse()
                .ok()
                .filter(|value| (-2000..=2000).contains(value))
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
        }
        Ok(())
    }

    fn show(&self, _: &Rule) -> String {
        self.map(|value| value.to_string()).join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assign<S: Setting>(mut setting: S, words: &str) -> Result<String, Reason> {
        let args: Vec<&str> = words.split(' ').collect();
        setting.assign(&args, &Rule::Any)?;
        Ok(setting.show(&Rule::Any))
    }

    #[test]
    fn save_points_come_in_pairs() {
        let check = |words| assign(Vec::<SavePoint>::new(), words);
        assert_eq!(check("60 1 300 0").unwrap(), "60 1 300 0");
        assert_eq!(check("").unwrap(), "");
        for bad in ["60", "60 x", "0 1", "60  1", "60 -1"] {
            assert_eq!(check(bad).unwrap_err(), "Invalid save parameters", "{bad}");
        }
    }

    #[test]
    fn event_classes_are_shown_in_redis_order() {
        for (given, shown) in
            [("KEx", "xKE"), ("KEA", "AKE"), ("KEAmn", "AKEm"), ("nmtdK", "tdnKm"), ("", "")]
        {
            assert_eq!(assign(NotifyFlags::default(), given).unwrap(), shown, "{given}");
        }
        let error = assign(NotifyFlags::default(), "Q").unwrap_err();
        assert_eq!(error, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
    }

    #[test]
    fn buffer_limits_change_only_the_classes_named() {
        let limits = OutputBufferLimits::default();
        assert_eq!(
            assign(limits, "normal 1mb 2kb 3 replica 1 2 3").unwrap(),
            "normal 1048576 2048 3 slave 1 2 3 pubsub 33554432 8388608 60"
        );
        assert!(assign(limits, "normal 0 0").unwrap_err().starts_with("Wrong number"));
        assert!(assign(limits, "master 0 0 0").unwrap_err().starts_with("Invalid client class"));
        assert!(assign(limits, "normal 1 2 -1").unwrap_err().starts_with("Error in hard"));
    }

    #[test]
    fn a_master_is_a_host_and_a_port_or_no_one() {
        assert_eq!(assign(None::<HostPort>, "127.0.0.1 6379").unwrap(), "127.0.0.1 6379");
        assert_eq!(assign(None::<HostPort>, "NO ONE").unwrap(), "");
        assert_eq!(assign(None::<HostPort>, "localhost 70000").unwrap_err(), "Invalid master port");
        assert_eq!(assign(None::<HostPort>, "localhost").unwrap_err(), "wrong number of arguments");
    }

    #[test]
    fn percentiles_lie_between_0_and_100() {
        assert_eq!(assign(Vec::<f64>::new(), "50 99.99 1e1").unwrap(), "50 99.99 10");
        assert!(assign(Vec::<f64>::new(), "101").is_err());
        assert!(assign(Vec::<f64>::new(), "nan").is_err());
    }
}
