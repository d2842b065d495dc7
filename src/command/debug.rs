//! Commands of the debug group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
