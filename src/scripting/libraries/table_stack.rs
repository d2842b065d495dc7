//! Tables that wait while what they contain is worked on.
//!
//! Each table that Rust holds takes one of the few thousand references that Lua's interface has. So the outer ones are
//! held directly, and those deeper down by a Lua table.

use mlua::{Lua, Table};

const HELD_MAX: usize = 128;

/// A stack of tables of any depth.
pub struct TableStack<'a> {
    lua: &'a Lua,
    held: Vec<Table>,
    spilled: Option<Table>,
    spilled_len: usize,
}

impl<'a> TableStack<'a> {
    pub fn new(lua: &'a Lua) -> Self {
        TableStack { lua, held: Vec::new(), spilled: None, spilled_len: 0 }
    }

    pub fn push(&mut self, table: Table) -> mlua::Result<()> {
        if self.held.len() < HELD_MAX {
            self.held.push(table);
            return Ok(());
        }
        let spilled = match &self.spilled {
            Some(spilled) => spilled,
            None => self.spilled.insert(self.lua.create_table()?),
        };
        self.spilled_len += 1;
        spilled.raw_set(self.spilled_len, table)
    }

    pub fn pop(&mut self) -> mlua::Result<Option<Table>> {
        match &self.spilled {
            Some(spilled) if self.spilled_len > 0 => {
                let table = spilled.raw_get(self.spilled_len)?;
                spilled.raw_set(self.spilled_len, mlua::Nil)?;
                self.spilled_len -= 1;
                Ok(Some(table))
            }
            _ => Ok(self.held.pop()),
        }
    }
}
