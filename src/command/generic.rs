//! Commands of the generic group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
