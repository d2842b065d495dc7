//! Commands of the info group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
