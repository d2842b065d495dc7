//! Lua scripts: what a script finds in its global table, and how it is kept from harm.

pub mod libraries;
