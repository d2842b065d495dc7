//! The TCP addresses that are open, and how CONFIG SET opens others while the server runs.
//!
//! A change happens as a whole or not at all: if a new address cannot be opened, the old ones listen on. Addresses that
//! stay are not touched, and neither are the connections that came in through those that close.

use std::net::Shutdown;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::hub::Hub;
use super::listener::{self, Listener};
use crate::config::{Config, SetError};

/// One open address: a name of `bind`, and the port.
pub struct Door {
    pub name: String,
    pub port: u16,
    pub listener: Arc<TcpListener>,
}

impl Door {
    fn is_wanted(&self, config: &Config) -> bool {
        self.port == config.port && config.bind.contains(&self.name)
    }
}

/// All open addresses with the tasks that accept there.
pub struct Doors {
    runtime: Handle,
    hub: OnceLock<&'static Hub>,
    open: Mutex<Vec<(Door, AbortHandle)>>,
}

impl Doors {
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, hub: OnceLock::new(), open: Mutex::default() }
    }

    /// Serves everybody who comes in through `doors`.
    pub fn open(&self, hub: &'static Hub, doors: Vec<Door>) {
        self.hub.get_or_init(|| hub);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for door in doors {
            let accepting = Listener::Tcp(door.listener.clone()).accept(hub);
            open.push((door, self.runtime.spawn(accepting).abort_handle()));
        }
    }

    /// CONFIG SET has changed these parameters: opens and closes what follows from it.
    pub fn apply(&self, config: &Config, changed: &[&'static str]) -> Result<(), SetError> {
        let (name, reason) = if changed.contains(&"port") {
            ("port", "Unable to listen on this port. Check server logs.")
        } else if changed.contains(&"bind") {
            ("bind", "Failed to bind to specified addresses.")
        } else {
            return Ok(());
        };
        self.change(config).map_err(|_| SetError::failed(name, reason))
    }

    fn change(&self, config: &Config) -> anyhow::Result<()> {
        let Some(&hub) = self.hub.get() else { return Ok(()) };
        let _context = self.runtime.enter();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open =
            |name: &String| open.iter().any(|(door, _)| door.port == config.port && door.name == *name);
        let missing: Vec<&String> = config.bind.iter().filter(|name| !is_open(name)).collect();
        // What closes may overlap with what opens, so it stops listening first.
        for (door, _) in open.iter().filter(|(door, _)| !door.is_wanted(config)) {
            SockRef::from(&*door.listener).shutdown(Shutdown::Both)?;
        }
        let opened = match listener::bind_tcp(missing.into_iter(), config) {
            Ok(opened) => opened,
            Err(error) => {
                for (door, _) in open.iter().filter(|(door, _)| !door.is_wanted(config)) {
                    SockRef::from(&*door.listener).listen(config.tcp_backlog as i32)?;
                }
                return Err(error);
            }
        };
        open.retain(|(door, task)| {
            let stays = door.is_wanted(config);
            if !stays {
                task.abort();
            }
            stays
        });
        drop(open);
        self.open(hub, opened);
        Ok(())
    }
}
