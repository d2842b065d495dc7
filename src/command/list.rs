//! Commands of the list group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
