//! To be described.

/// Placeholder of the type.
#[derive(Debug, Clone, Default)]
pub struct Set;
impl Set {
    pub fn len(&self) -> usize {
        0
    }
    pub fn free_effort(&self) -> usize {
        0
    }
    pub fn encoding(&self) -> &'static str {
        ""
    }
    pub fn memory_bytes(&self) -> usize {
        0
    }
}
