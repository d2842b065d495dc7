//! Commands of the server group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
