//! Commands of the persistence group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
