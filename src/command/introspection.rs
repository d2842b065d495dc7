//! Commands of the introspection group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
