//! Commands of the set group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
