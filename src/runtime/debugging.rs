//! Sessions of the script debugger: each has a thread that waits for its client.
//!
//! One that is to leave no trace runs in an engine beside the server's, which has the data of the moment at which it begins.
//! The other kind runs in the server's engine, and holds it: that is what was asked for.

use std::io::{Read as _, Write as _};
use std::thread;

use super::clock::SystemClock;
use super::hub::Hub;
use super::memory;
use super::socket::BlockingSocket;
use crate::command::{debugging, dispatch};
use crate::engine::client::{Client, ScriptDebugging};
use crate::engine::{ClientId, Engine, LogLevel};
use crate::resp::args::OwnedArgs;
use crate::scripting::Console;

/// What a connection hands over.
pub struct Session {
    pub request: OwnedArgs,
    /// What the client has sent behind it.
    pub received: Vec<u8>,
}

/// The client's end of a session.
struct Line {
    socket: Box<dyn BlockingSocket>,
    received: Vec<u8>,
}

impl Console for Line {
    fn send(&mut self, bytes: &[u8]) {
        // If nobody is there any more, the next `receive` says so.
        let _ = self.socket.write_all(bytes);
    }

    fn receive(&mut self, into: &mut Vec<u8>) -> bool {
        if !self.received.is_empty() {
            into.append(&mut self.received);
            return true;
        }
        let mut part = [0; 1024];
        match self.socket.read(&mut part) {
            Ok(count @ 1..) => {
                into.extend_from_slice(&part[..count]);
                true
            }
            _ => false,
        }
    }
}

/// Begins a session; returns as soon as the client is out of the server, or its thread has the engine.
pub async fn begin(socket: Box<dyn BlockingSocket>, hub: &'static Hub, id: ClientId, session: Session) {
    let beside = hub.visit(move |engine| leave_server(engine, id)).await;
    let console = Box::new(Line { socket, received: session.received });
    let begun = thread::Builder::new().name("debugger".to_owned()).spawn(move || match beside {
        Some(mut engine) => {
            debugging::run_session(&mut engine, id, &session.request, console);
            for line in std::mem::take(&mut engine.log_lines) {
                super::log::write(line.level, &line.text);
            }
            drop(engine);
            memory::settle();
        }
        None => hub.enter(|engine| {
            if let Some(attendant) = engine.scripting.attendant.clone() {
                // So that no thread waits for the lock, which it could not be told to give up.
                attendant.expect_long();
            }
            debugging::run_session(engine, id, &session.request, console);
            dispatch::disconnect(engine, id);
        }),
    });
    if let Err(error) = begun {
        hub.visit(move |engine| {
            engine.log(LogLevel::Warning, format!("no thread for a debugging session: {error}"));
            dispatch::disconnect(engine, id);
        })
        .await;
    }
}

/// An engine for the client alone, with the client in it; none if it debugs in the server.
fn leave_server(engine: &mut Engine, id: ClientId) -> Option<Box<Engine>> {
    let is_apart = |client: &Client| client.script_debugging == ScriptDebugging::Apart;
    if !engine.clients.get(id).is_some_and(is_apart) {
        return None;
    }
    let client = dispatch::take_out(engine, id)?;
    let mut beside = Box::new(engine.beside(Box::new(SystemClock::new())));
    beside.clients.adopt(client);
    Some(beside)
}
