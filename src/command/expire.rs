//! Commands of the expire group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
