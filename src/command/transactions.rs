//! Commands of the transactions group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
