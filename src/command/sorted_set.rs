//! Commands of the sorted_set group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
