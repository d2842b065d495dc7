//! Commands of the config group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
