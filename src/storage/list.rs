//! To be described.

/// Placeholder of the type.
#[derive(Debug, Clone, Default)]
pub struct List;
