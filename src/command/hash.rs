//! Commands of the hash group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
