//! What a client may do wrong, on purpose or not: it is refused or dropped, and the others are served.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use russet::resp::value::Value;

use crate::harness::{Client, Server, becomes, eventually, ok};

fn pong() -> Value {
    Value::Simple(b"PONG".to_vec())
}

#[test]
fn protocol_errors_are_told_and_close_the_connection() {
    let (ours, theirs) = (Server::russet(&[]), Server::redis(&[]));
    let cases: &[&[u8]] = &[
        b"*1\r\n:4\r\n",
        b"*1\r\n$-5\r\n",
        b"*1\r\n$536870913\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"*2147483648\r\n",
        b"*abc\r\n",
        b"GET \"unbalanced\r\n",
    ];
    for bytes in cases {
        let told = [&ours, &theirs].map(|server| {
            let mut client = server.client();
            client.send_raw(b"PING\r\n");
            client.send_raw(bytes);
            String::from_utf8_lossy(&client.read_to_end()).into_owned()
        });
        assert!(told[0].starts_with("+PONG\r\n-ERR Protocol error"), "{}: {}", bytes.escape_ascii(), told[0]);
        assert_eq!(told[0], told[1], "{}", bytes.escape_ascii());
    }
    assert_eq!(ours.client().call("PING"), pong());
}

#[test]
fn an_endless_line_is_refused() {
    let server = Server::russet(&[]);
    for start in ["", "*", "*1\r\n$"] {
        let mut client = server.client();
        // The server may have closed before all is sent.
        let _ = client.try_send_raw(start.as_bytes());
        let _ = client.try_send_raw(&vec![b'1'; 100 * 1024]);
        let reply = client.read_to_end();
        assert!(
            reply.is_empty() || reply.starts_with(b"-ERR Protocol error: too big"),
            "{}",
            reply.escape_ascii()
        );
    }
    assert_eq!(server.client().call("PING"), pong());
}

#[test]
fn announced_memory_is_not_taken_before_it_is_filled() {
    let server = Server::russet(&[]);
    let mut observer = server.client();
    let before: i64 = observer.info("used_memory").parse().unwrap();
    let mut greedy: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for client in &mut greedy {
        client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc");
    }
    let mut late = server.client();
    late.call("PING");
    let after: i64 = observer.info("used_memory").parse().unwrap();
    assert!(after - before < 20 << 20, "20 announced values of 512 MB took {} bytes", after - before);
    drop(greedy);
    assert_eq!(late.call("PING"), pong());
}

#[test]
fn before_the_password_only_little_is_read() {
    let server = Server::russet(&["--requirepass", "secret"]);
    let mut client = server.client();
    client.send_raw(b"*11\r\n");
    assert_eq!(client.read_to_end(), b"-ERR Protocol error: unauthenticated multibulk length\r\n");
    let mut client = server.client();
    client.send_raw(b"*2\r\n$16385\r\n");
    assert_eq!(client.read_to_end(), b"-ERR Protocol error: unauthenticated bulk length\r\n");
    let mut client = server.client();
    assert_eq!(client.text("GET key"), "NOAUTH Authentication required.");
    assert_eq!(client.call("AUTH secret"), ok());
    assert_eq!(client.call("GET key"), Value::NullBulk);
}

#[test]
fn half_requests_and_closed_sockets_leave_nothing_behind() {
    let server = Server::russet(&[]);
    let mut observer = server.client();
    let received_before: u64 = observer.info("total_connections_received").parse().unwrap();
    for i in 0..200 {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let part: &[u8] = match i % 4 {
            0 => b"*3\r\n$3\r\nSET\r\n$3\r\nke",
            1 => b"BLPOP nothing 0\r\n",
            2 => b"MULTI\r\nSET a b\r\nWATCH",
            _ => b"SUBSCRIBE channel\r\n*",
        };
        stream.write_all(part).unwrap();
    }
    // The last of them may still be on their way when the first ones are gone.
    let received = (received_before + 200).to_string();
    becomes("connections received", &received, || observer.info("total_connections_received"));
    becomes("connected clients", &"1".to_owned(), || observer.info("connected_clients"));
    assert_eq!(observer.info("blocked_clients"), "0");
    assert_eq!(observer.call("DBSIZE"), Value::Integer(0));
    assert_eq!(observer.call("PUBLISH channel x"), Value::Integer(0));
}

#[test]
fn a_client_that_never_reads_does_not_stop_others() {
    let server = Server::russet(&[]);
    let mut other = server.client();
    other.call_args(&["SET", "key", &"x".repeat(1 << 20)]);
    let mut deaf = server.client().sender();
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    // Its replies pile up: 500 MB, if the server took all requests.
    let _ = deaf.write_all(&b"GET key\r\n".repeat(500));
    let start = Instant::now();
    for _ in 0..100 {
        assert_eq!(other.call("PING"), pong());
    }
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn more_clients_than_allowed_are_turned_away() {
    let server = Server::russet(&["--maxclients", "10"]);
    let mut first = server.client();
    // Whoever asked whether the server was up may still be leaving.
    eventually("alone", || first.info("connected_clients") == "1");
    // All of them stay connected until the last has its answer: a place given back would let a later one in.
    let mut clients: Vec<Client> = (0..20).filter_map(|_| Client::try_connect(server.port).ok()).collect();
    let mut refused = 20 - clients.len();
    for client in &mut clients {
        let reply = client.try_call(&["PING"]);
        let is_told =
            reply.as_ref().is_ok_and(|it| it.as_bytes() == Some(b"ERR max number of clients reached"));
        refused += usize::from(reply.is_err() || is_told);
    }
    assert_eq!(refused, 11, "clients turned away of 21 where 10 are allowed");
    drop(clients);
    eventually("the others are gone", || first.info("connected_clients") == "1");
}

#[test]
fn random_bytes_do_no_harm() {
    let server = Server::russet(&[]);
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..100 {
        let mut client = server.client();
        let bytes: Vec<u8> =
            (0..rng.usize(1..5000)).map(|_| *rng.choice(b"*$1\r\n\0 \"azGET+-:").unwrap()).collect();
        let _ = client.try_send_raw(&bytes);
    }
    assert_eq!(server.client().call("PING"), pong());
}
