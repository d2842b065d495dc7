//! Commands of the pubsub group.

use super::spec::CommandSpec;

pub(super) const COMMANDS: &[CommandSpec] = &[];
