//! Commands of the replication group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
