//! Accepts connections: TCP on several addresses, and a Unix socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::connection::{Admitted, Connection};
use super::doors::Door;
use super::hub::Hub;
use super::log;
use super::socket::ClientSocket;
use crate::config::Config;
use crate::engine::Engine;

const TOO_MANY_CLIENTS: &str = "-ERR max number of clients reached\r\n";
const PROTECTED_MODE: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no \
    password is set for the default user. In this mode connections are only accepted from the loopback interface. If \
    you want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable \
    protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to \
    Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet \
    if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the \
    protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and then \
    restarting the server. 3) If you started the server manually just for testing, restart it with the \
    '--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only need to \
    do one of the above things in order for the server to start accepting connections from the outside.\r\n";

/// One open address.
pub enum Listener {
    Tcp(Arc<TcpListener>),
    Unix(UnixListener, Arc<str>),
}

/// Opens every address the configuration names.
pub fn bind(config: &Config) -> anyhow::Result<(Vec<Door>, Option<Listener>)> {
    let doors = bind_tcp(config.bind.iter(), config)?;
    if doors.is_empty() && config.port != 0 && !config.bind.is_empty() {
        anyhow::bail!("Failed listening on port {} (tcp), aborting.", config.port);
    }
    let mut unix = None;
    if !config.unixsocket.is_empty() {
        let listener =
            bind_unix(config).with_context(|| format!("Failed opening Unix socket {}", config.unixsocket))?;
        unix = Some(Listener::Unix(listener, config.unixsocket.as_str().into()));
    }
    if doors.is_empty() && unix.is_none() {
        anyhow::bail!("Configured to not listen anywhere, exiting.");
    }
    Ok((doors, unix))
}

/// Opens some of the names of `bind`; none with port 0.
pub fn bind_tcp<'a>(names: impl Iterator<Item = &'a String>, config: &Config) -> anyhow::Result<Vec<Door>> {
    if config.port == 0 {
        return Ok(Vec::new());
    }
    let mut doors = Vec::new();
    for name in names {
        let listener = bind_name(name, config)?;
        doors.extend(listener.map(|listener| Door {
            name: name.clone(),
            port: config.port,
            listener: Arc::new(listener),
        }));
    }
    Ok(doors)
}

/// Opens one name of `bind`. A leading `-` forgives that there is no such address.
fn bind_name(name: &str, config: &Config) -> anyhow::Result<Option<TcpListener>> {
    let (name, is_optional) = match name.strip_prefix('-') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let addr = resolve(name, config.port);
    let listener =
        addr.and_then(|addr| listen(addr, config.tcp_backlog as i32)).and_then(TcpListener::from_std);
    match listener {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if is_optional && is_absent(&error) => Ok(None),
        Err(error) => {
            let port = config.port;
            Err(error).with_context(|| {
                format!("Failed listening on port {port} (tcp), aborting: Could not create server TCP listening socket {name}:{port}")
            })
        }
    }
}

fn resolve(name: &str, port: u16) -> io::Result<SocketAddr> {
    let ip = match name {
        "*" => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        "::*" => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        name => match name.parse() {
            Ok(ip) => ip,
            Err(_) => {
                let found = (name, port).to_socket_addrs()?.next();
                return found.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into());
            }
        },
    };
    Ok(SocketAddr::new(ip, port))
}

fn listen(addr: SocketAddr, backlog: i32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        // IPv4 has sockets of its own.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Whether this machine has no such address or address family.
fn is_absent(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    const EPROTONOSUPPORT: i32 = rustix::io::Errno::PROTONOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable
        || matches!(error.raw_os_error(), Some(EAFNOSUPPORT | EPROTONOSUPPORT))
}

fn bind_unix(config: &Config) -> io::Result<UnixListener> {
    let path = Path::new(&config.unixsocket);
    // What a server that is gone has left behind.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(config.tcp_backlog as i32)?;
    if config.unixsocketperm != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(config.unixsocketperm))?;
    }
    UnixListener::from_std(socket.into())
}

/// Where a connection comes from.
struct Origin {
    addr: String,
    local_addr: String,
    fd: i32,
    is_unix: bool,
    is_local: bool,
}

impl Listener {
    /// Serves everybody who connects.
    pub async fn accept(self, hub: &'static Hub) {
        loop {
            let accepted = match &self {
                Self::Tcp(listener) => match listener.accept().await {
                    Ok((stream, peer)) => {
                        welcome_tcp(stream, peer, hub).await;
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                Self::Unix(listener, path) => match listener.accept().await {
                    Ok((stream, _)) => {
                        welcome_unix(stream, path, hub).await;
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = accepted {
                log::warning(&format!("cannot accept a connection: {error}"));
                // Out of file descriptors, say: trying again at once would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn welcome_tcp(stream: TcpStream, peer: SocketAddr, hub: &'static Hub) {
    // Replies are written whole: waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let local_addr = stream.local_addr().map(|addr| addr.to_string()).unwrap_or_default();
    let origin = Origin {
        addr: peer.to_string(),
        local_addr,
        fd: stream.as_raw_fd(),
        is_unix: false,
        is_local: peer.ip().is_loopback(),
    };
    let keepalive_seconds = hub.visit(|engine| engine.config.tcp_keepalive).await;
    if keepalive_seconds > 0 {
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(keepalive_seconds.into()))
            .with_interval(Duration::from_secs((keepalive_seconds / 3).max(1).into()))
            .with_retries(3);
        // A connection without probes is better than none.
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    }
    welcome(stream, origin, hub).await;
}

async fn welcome_unix(stream: UnixStream, path: &str, hub: &'static Hub) {
    let addr = format!("{path}:0");
    let fd = stream.as_raw_fd();
    let origin = Origin { local_addr: addr.clone(), addr, fd, is_unix: true, is_local: true };
    welcome(stream, origin, hub).await;
}

async fn welcome(mut stream: impl ClientSocket, origin: Origin, hub: &'static Hub) {
    match hub.visit(|engine| admit(engine, origin)).await {
        Ok(admitted) => {
            tokio::spawn(async move { Connection::new(stream, hub, admitted).serve().await });
        }
        Err(refusal) => {
            // It may have gone already.
            tokio::spawn(async move { stream.write_all(refusal.as_bytes()).await });
        }
    }
}

/// Registers a client, or says why it is not let in.
fn admit(engine: &mut Engine, origin: Origin) -> Result<Admitted, &'static str> {
    let needs_password = !engine.config.requirepass.is_empty();
    if engine.clients.len() >= engine.config.maxclients as usize {
        engine.stats.connections_rejected += 1;
        return Err(TOO_MANY_CLIENTS);
    }
    if engine.config.protected_mode && !needs_password && !origin.is_local {
        engine.stats.connections_rejected += 1;
        return Err(PROTECTED_MODE);
    }
    engine.stats.connections_received += 1;
    let now = engine.now();
    let client = engine.clients.connect(now);
    client.addr = origin.addr;
    client.local_addr = origin.local_addr;
    client.fd = origin.fd;
    client.is_unix = origin.is_unix;
    client.is_authenticated = !needs_password;
    let (id, traffic) = (client.id, client.traffic.clone());
    let config = &engine.config;
    Ok(Admitted {
        id,
        traffic,
        is_authenticated: !needs_password,
        bulk_bytes_max: config.proto_max_bulk_len,
        query_bytes_max: config.client_query_buffer_limit,
    })
}
