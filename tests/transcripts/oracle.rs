//! The same conversation with a real server: what would Redis have answered?

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use russet::resp::reply::write_request;

use crate::script::{Script, Step};
use crate::shown::{Transcript, escape};

/// A client that has been silent for so long has read all there is.
const SILENCE: Duration = Duration::from_millis(15);

/// Prints every line of the script to which the server on `port` answers otherwise. Its data is lost.
pub fn compare(script: &Script, transcript: &Transcript, port: u16) {
    let mut server = Oracle { port, clients: BTreeMap::new() };
    // What the transcript before may have left behind.
    for request in ["REPLICAOF NO ONE", "FLUSHALL", "FUNCTION FLUSH", "SCRIPT FLUSH", "CONFIG RESETSTAT"] {
        server.exchange("oracle", &request.split(' ').collect::<Vec<_>>());
        server.client("oracle").read();
    }
    server.clients.clear();
    for (line, shown) in script.lines.iter().zip(&transcript.steps) {
        match &line.step {
            Step::Nothing => continue,
            Step::Config { .. } => return,
            Step::Advance { .. } => return,
            Step::Disconnect { client } => {
                server.clients.remove(client);
            }
            Step::Request { client, args } => server.exchange(client, args),
            Step::Raw { client, bytes } => server.client(client).stream.write_all(bytes).unwrap(),
        }
        let ours: BTreeMap<&str, &[u8]> =
            shown.received.iter().map(|(client, bytes)| (client.as_str(), &bytes[..])).collect();
        for (name, client) in &mut server.clients {
            let theirs = client.read();
            let ours = ours.get(name.as_str()).copied().unwrap_or_default();
            if theirs != ours {
                println!("{}:{}: {}", script.name, line.number, line.text);
                println!("    ours   {}\n    theirs {}", escape(ours), escape(&theirs));
            }
        }
    }
}

struct Oracle {
    port: u16,
    clients: BTreeMap<String, Client>,
}

struct Client {
    stream: TcpStream,
}

impl Oracle {
    fn client(&mut self, name: &str) -> &mut Client {
        let port = self.port;
        self.clients.entry(name.to_owned()).or_insert_with(|| {
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("RUSSET_ORACLE is listening");
            stream.set_read_timeout(Some(SILENCE)).unwrap();
            Client { stream }
        })
    }

    fn exchange(&mut self, client: &str, args: &[impl AsRef<[u8]>]) {
        let mut bytes = Vec::new();
        write_request(&mut bytes, args.iter());
        self.client(client).stream.write_all(&bytes).unwrap();
    }
}

impl Client {
    fn read(&mut self) -> Vec<u8> {
        let mut received = Vec::new();
        let mut chunk = [0; 65536];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return received,
                Ok(n) => received.extend_from_slice(&chunk[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return received;
                }
                Err(_) => return received,
            }
        }
    }
}
