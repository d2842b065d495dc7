//! Parameters that are one of a few words, as enums, and SIGTERM's set of words.

use super::setting::{Reason, Rule, Setting, only};

/// Declares enums whose variants have a spelling; the order is that of Redis' error sentence.
macro_rules! choices {
    ($( $(#[$meta:meta])* $name:ident { $( $variant:ident = $word:literal ),* $(,)? } )*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $( $variant ),* }

        impl $name {
            /// The spelling in redis.conf.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word ),* }
            }
        }

        impl Setting for $name {
            fn assign(&mut self, args: &[&str], _: &Rule) -> Result<(), Reason> {
                let word = only(args)?;
                $( if word.eq_ignore_ascii_case($word) {
                    *self = Self::$variant;
                    return Ok(());
                } )*
                Err(must_be_one_of(self.choices()))
            }

            fn show(&self, _: &Rule) -> String {
                self.as_str().to_owned()
            }

            fn choices(&self) -> &'static [&'static str] {
                &[$( $word ),*]
            }
        }
    )* };
}

fn must_be_one_of(choices: &[&str]) -> Reason {
    format!("argument(s) must be one of the following: {}", choices.join(", ")).into()
}

choices! {
    /// How much the log says.
    LogLevel {
        Debug = "debug",
        Verbose = "verbose",
        Notice = "notice",
        Warning = "warning",
        Nothing = "nothing",
    }
    /// Which keys leave when `maxmemory` is reached.
    MaxmemoryPolicy {
        VolatileLru = "volatile-lru",
        VolatileLfu = "volatile-lfu",
        VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl",
        AllkeysLru = "allkeys-lru",
        AllkeysLfu = "allkeys-lfu",
        AllkeysRandom = "allkeys-random",
        NoEviction = "noeviction",
    }
    /// When the append-only file is forced to disk.
    AppendFsync { EverySec = "everysec", Always = "always", No = "no" }
    /// What a replica does with its data while a snapshot arrives.
    ReplDisklessLoad {
        Disabled = "disabled", OnEmptyDb = "on-empty-db", SwapDb = "swapdb", FlushBeforeLoad = "flush-before-load"
    }
    /// Who may use something dangerous.
    Permission { No = "no", Yes = "yes", Local = "local" }
    /// Which payloads are checked deeply before use.
    SanitizeDumpPayload { No = "no", Yes = "yes", Clients = "clients" }
    /// The channels that a new user may use.
    AclPubsubDefault { AllChannels = "allchannels", ResetChannels = "resetchannels" }
    PropagationErrorBehavior { Ignore = "ignore", Panic = "panic", PanicOnReplicas = "panic-on-replicas" }
    Supervised { Upstart = "upstart", Systemd = "systemd", Auto = "auto", No = "no" }
    OomScoreAdj { No = "no", Yes = "yes", Relative = "relative", Absolute = "absolute" }
    ClusterEndpointType { Ip = "ip", Hostname = "hostname", Unknown = "unknown-endpoint" }
    TlsAuthClients { No = "no", Yes = "yes", Optional = "optional" }
    SyslogFacility {
        User = "user",
        Local0 = "local0",
        Local1 = "local1",
        Local2 = "local2",
        Local3 = "local3",
        Local4 = "local4",
        Local5 = "local5",
        Local6 = "local6",
        Local7 = "local7",
    }
}

impl Permission {
    /// Whether a client may, given whether it comes from this machine.
    pub fn allows(self, is_local: bool) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::Local => is_local,
        }
    }
}

/// How the server ends when a signal asks it to; all false is the default: save if there are save points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShutdownOptions {
    pub save: bool,
    pub nosave: bool,
    pub now: bool,
    pub force: bool,
}

impl Setting for ShutdownOptions {
    fn assign(&mut self, args: &[&str], _: &Rule) -> Result<(), Reason> {
        let mut options = Self::default();
        for word in args {
            match word.to_ascii_lowercase().as_str() {
                "default" => {}
                "save" => options.save = true,
                "nosave" => options.nosave = true,
                "now" => options.now = true,
                "force" => options.force = true,
                _ => return Err(must_be_one_of(self.choices())),
            }
        }
        if args.is_empty() {
            return Err(must_be_one_of(self.choices()));
        }
        if options.save && options.nosave {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = options;
        Ok(())
    }

    fn show(&self, _: &Rule) -> String {
        let words = [(self.save, "save"), (self.nosave, "nosave"), (self.now, "now"), (self.force, "force")];
        let chosen: Vec<&str> = words.iter().filter(|(is_set, _)| *is_set).map(|(_, word)| *word).collect();
        if chosen.is_empty() { "default".to_owned() } else { chosen.join(" ") }
    }

    fn choices(&self) -> &'static [&'static str] {
        &["default", "save", "nosave", "now", "force"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case_and_errors_list_them() {
        let mut fsync = AppendFsync::No;
        fsync.assign(&["ALWAYS"], &Rule::Any).unwrap();
        assert_eq!(fsync, AppendFsync::Always);
        let error = fsync.assign(&["often"], &Rule::Any).unwrap_err();
        assert_eq!(error, "argument(s) must be one of the following: everysec, always, no");
    }

    #[test]
    fn shutdown_options_combine_but_save_excludes_nosave() {
        let mut options = ShutdownOptions::default();
        options.assign(&["now", "save"], &Rule::Any).unwrap();
        assert_eq!(options.show(&Rule::Any), "save now");
        assert!(options.assign(&["save", "nosave"], &Rule::Any).is_err());
        options.assign(&["default"], &Rule::Any).unwrap();
        assert_eq!(options, ShutdownOptions::default());
    }
}
