//! The commands of a file run again, as the master's stream is: nobody reads replies, nothing is refused, propagated or
//! expired on the way.

use super::dispatch;
use super::table::{Lookup, TABLE};
use crate::engine::client::ClientKind;
use crate::engine::{ClientId, Engine, LogLevel};
use crate::resp::args::Args;

/// Where the command is; an error if there is none that is called so, or none with so many arguments.
pub fn find(args: &Args<'_>) -> Result<Lookup, String> {
    let lookup = TABLE.lookup_original(args);
    let name = || String::from_utf8_lossy(args.bytes(0)).into_owned();
    match TABLE.resolve(lookup, args) {
        Ok(_) => Ok(lookup),
        Err(_) if matches!(lookup, Lookup::Found(_)) => {
            Err(format!("Wrong number of arguments for '{}'", name()))
        }
        Err(_) => Err(format!("Unknown command '{}'", name())),
    }
}

/// In whose name the commands run.
#[derive(Debug)]
pub struct Replay {
    client: ClientId,
}

impl Replay {
    pub fn begin(engine: &mut Engine) -> Self {
        let now = engine.now();
        let client = engine.clients.connect(now);
        client.kind = ClientKind::Master;
        client.is_authenticated = true;
        Self { client: client.id }
    }

    /// Another part begins: it says by itself which database it begins in.
    pub fn begin_part(&self, engine: &mut Engine) {
        engine.discard_transaction(self.client);
        if let Some(client) = engine.clients.get_mut(self.client) {
            client.db_index = 0;
        }
    }

    /// Runs one command; an error if there is no such command.
    pub fn run(&self, engine: &mut Engine, args: &Args<'_>) -> Result<(), String> {
        let lookup = find(args)?;
        engine.effects.is_propagating = false;
        dispatch::execute_named(engine, self.client, lookup, args);
        let Some(client) = engine.clients.get_mut(self.client) else { return Ok(()) };
        let failed = client.out.first() == Some(&b'-');
        let reply = failed.then(|| String::from_utf8_lossy(&client.out).trim_end().to_owned());
        client.out.clear();
        client.long_replies.clear();
        if let Some(reply) = reply {
            let name = String::from_utf8_lossy(args.bytes(0));
            engine.log(LogLevel::Warning, format!("the file's command '{name}' failed: {reply}"));
        }
        Ok(())
    }

    /// Whether a MULTI is open whose EXEC has not come.
    pub fn is_in_transaction(&self, engine: &Engine) -> bool {
        engine.clients.get(self.client).is_some_and(|client| client.transaction.is_some())
    }

    /// A transaction that is still open is dropped.
    pub fn end(self, engine: &mut Engine) {
        dispatch::disconnect(engine, self.client);
        engine.refresh_propagation();
    }
}
