//! One row of the table of parameters, and the macro that turns the rows into `Config`.

use super::Config;
use super::setting::{Reason, Rule, Setting};

/// What CONFIG, the file, the command line and REWRITE know of one parameter.
#[derive(Clone, Copy)]
pub struct Parameter {
    pub name: &'static str,
    /// Redis' older name, which works everywhere.
    pub alias: Option<&'static str>,
    /// The heading under which the help lists it.
    pub group: &'static str,
    pub help: &'static str,
    pub rule: Rule,
    pub flags: u16,
    pub(super) field: fn(&Config) -> &dyn Setting,
    pub(super) field_mut: fn(&mut Config) -> &mut dyn Setting,
}

/// CONFIG SET refuses it.
pub const IMMUTABLE: u16 = 1;
/// Kept out of MONITOR, SLOWLOG and logs.
pub const SENSITIVE: u16 = 1 << 1;
/// CONFIG SET needs `enable-protected-configs`.
pub const PROTECTED: u16 = 1 << 2;
/// Found by its name, not by a pattern.
pub const HIDDEN: u16 = 1 << 3;
/// The value is several words.
pub const MULTI_ARG: u16 = 1 << 4;
/// Kept and shown, but nothing in this server asks for it.
pub const NO_EFFECT: u16 = 1 << 5;
/// `--help` explains it.
pub const COMMON: u16 = 1 << 6;
/// Later lines of the files and the command line add to earlier ones.
pub const ADDS_UP: u16 = 1 << 7;
/// CONFIG SET refuses it while the data set is being loaded.
pub const DENY_LOADING: u16 = 1 << 8;

impl Parameter {
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Its name and its alias.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        [self.name].into_iter().chain(self.alias)
    }

    /// The value as CONFIG GET shows it.
    pub fn show(&self, config: &Config) -> String {
        (self.field)(config).show(&self.rule)
    }

    pub fn choices(&self, config: &Config) -> &'static [&'static str] {
        (self.field)(config).choices()
    }

    pub fn placeholder(&self, config: &Config) -> &'static str {
        (self.field)(config).placeholder(&self.rule)
    }

    /// What follows the name in each line that CONFIG REWRITE writes.
    pub(super) fn lines(&self, config: &Config) -> Vec<String> {
        (self.field)(config).lines(&self.rule)
    }

    /// On error `config` may hold half of the value: the caller works on a copy, or gives up.
    pub(super) fn assign(&self, config: &mut Config, args: &[&str]) -> Result<(), Reason> {
        if !self.has(MULTI_ARG) && args.len() != 1 {
            return Err("wrong number of arguments".into());
        }
        (self.field_mut)(config).assign(args, &self.rule)
    }

    pub(super) fn is_default(&self, config: &Config, default: &Config) -> bool {
        self.lines(config) == self.lines(default)
    }
}

/// Declares `Config`, its defaults and `PARAMETERS` from rows in sections:
///
/// `/// help` newline `"name" | "alias" => field: Type = default, rule, FLAG FLAG;`
macro_rules! parameters {
    ($( [$group:literal] $(
        $(#[doc = $doc:literal])+
        $name:literal $(| $alias:literal)? => $field:ident: $type:ty
            = $default:expr, $rule:expr $(, $($flag:ident)+)?;
    )* )*) => {
        /// Every parameter of the server, typed. Texts are empty when not set.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $($( $(#[doc = $doc])+ pub $field: $type, )*)*
            /// `user` lines: the name and its rules.
            pub users: Vec<Vec<String>>,
            /// `rename-command` lines: the command and its new name, empty to remove it.
            pub renamed_commands: Vec<(String, String)>,
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    $($( $field: $default, )*)*
                    users: Vec::new(),
                    renamed_commands: Vec::new(),
                }
            }
        }

        /// One row for each parameter.
        pub static PARAMETERS: &[Parameter] = &[ $($( Parameter {
            name: $name,
            alias: parameters!(@alias $($alias)?),
            group: $group,
            help: concat!($($doc),+),
            rule: $rule,
            flags: 0 $($(| $flag)+)?,
            field: |config| &config.$field,
            field_mut: |config| &mut config.$field,
        }, )*)* ];
    };
    (@alias) => { None };
    (@alias $alias:literal) => { Some($alias) };
}
pub(super) use parameters;
