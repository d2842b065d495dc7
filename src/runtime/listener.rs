//! Accepts connections.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::connection::Connection;
use super::hub::Hub;
use super::log;
use crate::config::Config;

/// Opens every address the configuration names.
pub fn bind(config: &Config) -> anyhow::Result<Vec<TcpListener>> {
    let addr = SocketAddr::from(([127, 0, 0, 1], config.port));
    let listener =
        bind_one(addr).with_context(|| format!("Failed listening on port {} (tcp)", config.port))?;
    Ok(vec![TcpListener::from_std(listener)?])
}

fn bind_one(addr: SocketAddr) -> anyhow::Result<StdListener> {
    const BACKLOG: i32 = 511;
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves everybody who connects.
pub async fn accept(listener: TcpListener, hub: Arc<Hub>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Replies are written whole: waiting for more would only delay them.
                let _ = stream.set_nodelay(true);
                let hub = hub.clone();
                let id = hub.enter(|engine| {
                    let now = engine.now();
                    let needs_password = !engine.config.requirepass.is_empty();
                    engine.stats.connections_received += 1;
                    let client = engine.clients.connect(now);
                    client.addr = peer.to_string();
                    client.is_authenticated = !needs_password;
                    client.id
                });
                tokio::spawn(async move { Connection::new(stream, hub, id).serve().await });
            }
            Err(error) => {
                log::warning(&format!("cannot accept a connection: {error}"));
                // Out of file descriptors, say: trying again at once would spin.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}
