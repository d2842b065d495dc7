//! Commands of the client group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
