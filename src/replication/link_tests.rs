//! Tests of the replica's side of the link: transcripts of handshakes, cut at every byte.

use super::*;
use proptest::prelude::*;

const ID: &str = "865467851c5b0bfdb41338fa2e34c6c4be91190e";

fn options() -> LinkOptions {
    LinkOptions { listening_port: 6380, announce_ip: None, auth: None, psync_from: None, is_failover: false }
}

/// Events as lines, neighbouring chunks joined, for a master that says all of `wire` in pieces of `sizes`.
fn transcript(options: LinkOptions, wire: &[u8], sizes: &[usize]) -> Vec<String> {
    let mut link = MasterLink::new(options);
    let mut events = vec![show(&Event::Send(link.start()))];
    let mut rest = wire;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let (mut input, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = later;
        while let Some(event) = link.receive(&mut input) {
            let (kind, text) = (mem::discriminant(&event), show(&event));
            let is_data =
                [Event::Stream(b""), Event::SnapshotChunk(b"")].iter().any(|e| mem::discriminant(e) == kind);
            let name = text.split('|').next().unwrap().to_owned();
            match events.last_mut() {
                Some(last) if is_data && last.starts_with(&format!("{name}|")) => {
                    last.push_str(&text[name.len() + 1..]);
                }
                _ => events.push(text),
            }
        }
        assert!(input.is_empty());
        assert!(link.line.len() <= LINE_BYTES_MAX);
    }
    events
}

fn show(event: &Event<'_>) -> String {
    match event {
        Event::Send(bytes) => {
            let text = String::from_utf8(bytes.clone()).unwrap();
            let words: Vec<_> = text.split("\r\n").filter(|w| !w.starts_with(['*', '$'])).collect();
            format!("> {}", words.join(" ").trim_end())
        }
        Event::SnapshotChunk(chunk) => format!("chunk|{}", chunk.escape_ascii()),
        Event::Stream(bytes) => format!("stream|{}", bytes.escape_ascii()),
        Event::Failed(failure) => format!("{:?}: {}", failure.kind, failure.reason),
        other => format!("{other:?}"),
    }
}

/// The handshake gives the same events for pieces of every size.
#[track_caller]
fn check(options: LinkOptions, wire: &str, expected: &[&str]) {
    for size in 1..=wire.len() {
        assert_eq!(transcript(options.clone(), wire.as_bytes(), &[size]), expected, "pieces of {size}");
    }
}

#[test]
fn a_full_sync_of_known_length() {
    check(
        options(),
        &format!("+PONG\r\n+OK\r\n+OK\r\n\n\n+FULLRESYNC {ID} 28\r\n\n$5\r\nREDIS*1\r\n$4\r\nping\r\n"),
        &[
            "> PING",
            "> REPLCONF listening-port 6380",
            "> REPLCONF capa eof capa psync2",
            "> PSYNC ? -1",
            &format!("FullSync {{ history: Some(({ID}, ReplOffset(28))) }}"),
            "SnapshotSize(Some(5))",
            "chunk|REDIS",
            "SnapshotEnd",
            r"stream|*1\r\n$4\r\nping\r\n",
        ],
    );
}

#[test]
fn a_full_sync_that_a_delimiter_ends() {
    let delimiter = "881dcf75fe6b7faec4386db62501d9de21f71b68";
    check(
        options(),
        &format!("+PONG\r\n+OK\r\n+OK\r\n+FULLRESYNC {ID} 0\r\n$EOF:{delimiter}\r\nR881d88{delimiter}*1"),
        &[
            "> PING",
            "> REPLCONF listening-port 6380",
            "> REPLCONF capa eof capa psync2",
            "> PSYNC ? -1",
            &format!("FullSync {{ history: Some(({ID}, ReplOffset(0))) }}"),
            "SnapshotSize(None)",
            "chunk|R881d88",
            "SnapshotEnd",
            "stream|*1",
        ],
    );
}

#[test]
fn everything_that_can_be_said_is_said_in_order() {
    let all = LinkOptions {
        announce_ip: Some("1.2.3.4".to_owned()),
        auth: Some(Auth { user: Some("repl".to_owned()), password: "secret".to_owned() }),
        psync_from: Some((ReplId::parse(ID.as_bytes()).unwrap(), ReplOffset(413))),
        ..options()
    };
    check(
        all,
        &format!(
            "-NOAUTH Authentication required.\r\n+OK\r\n+OK\r\n-ERR no\r\n+OK\r\n+CONTINUE {ID}\r\n\n*1"
        ),
        &[
            "> PING",
            "> AUTH repl secret",
            "> REPLCONF listening-port 6380",
            "> REPLCONF ip-address 1.2.3.4",
            "> REPLCONF capa eof capa psync2",
            &format!("> PSYNC {ID} 414"),
            &format!("Continue {{ replid: Some({ID}) }}"),
            r"stream|\n*1",
        ],
    );
}

#[test]
fn continue_of_an_old_master_names_no_id() {
    let from = LinkOptions { psync_from: Some((ReplId::NONE, ReplOffset(0))), ..options() };
    let events = transcript(from, b"+PONG\r\n+OK\r\n+OK\r\n+CONTINUE\r\n", &[7]);
    assert_eq!(events[4], "Continue { replid: None }");
}

#[test]
fn a_master_without_psync_is_asked_with_sync() {
    check(
        options(),
        "+PONG\r\n-ERR x\r\n-ERR x\r\n-ERR unknown command 'PSYNC'\r\n\n$0\r\n*1",
        &[
            "> PING",
            "> REPLCONF listening-port 6380",
            "> REPLCONF capa eof capa psync2",
            "> PSYNC ? -1",
            "> SYNC",
            "FullSync { history: None }",
            "SnapshotSize(Some(0))",
            "SnapshotEnd",
            "stream|*1",
        ],
    );
}

#[test]
fn failures_say_whose_they_are() {
    let greeted = "+PONG\r\n+OK\r\n+OK\r\n";
    let synced = format!("{greeted}+FULLRESYNC {ID} 5\r\n");
    for (wire, expected) in [
        ("-LOADING Redis is loading\r\n".to_owned(), "NotReady"),
        ("-ERR max number of clients reached\r\n".to_owned(), "Refused"),
        ("HTTP/1.1 400 Bad Request\r\n".to_owned(), "Protocol"),
        (format!("{greeted}-NOMASTERLINK Can't SYNC\r\n"), "NotReady"),
        (format!("{greeted}-LOADING x\r\n"), "NotReady"),
        (format!("{greeted}-NOPERM x\r\n"), "Refused"),
        (format!("{greeted}+WHAT\r\n"), "Protocol"),
        (format!("{greeted}+CONTINUE\r\n"), "Protocol"),
        (format!("{greeted}+FULLRESYNC {ID} -1\r\n"), "Protocol"),
        (format!("{greeted}+FULLRESYNC short 1\r\n"), "Protocol"),
        (format!("{synced}-ERR BGSAVE failed\r\n"), "Refused"),
        (format!("{synced}$-1\r\n"), "Protocol"),
        (format!("{synced}*1\r\n"), "Protocol"),
        ("x".repeat(5000), "Protocol"),
    ] {
        let events = transcript(options(), wire.as_bytes(), &[1000]);
        assert!(events.last().unwrap().starts_with(expected), "{wire}: {events:?}");
    }
    let auth = Some(Auth { user: None, password: "p".to_owned() });
    let events = transcript(LinkOptions { auth, ..options() }, b"+PONG\r\n-WRONGPASS x\r\n", &[3]);
    assert_eq!(events[1..], ["> AUTH p", "Refused: Unable to AUTH to MASTER: -WRONGPASS x"]);
}

#[test]
fn the_requests_are_redis_bytes() {
    let mut link = MasterLink::new(options());
    assert_eq!(link.start(), b"*1\r\n$4\r\nPING\r\n");
    let mut input: &[u8] = b"+PONG\r\n";
    let expected = b"*3\r\n$8\r\nREPLCONF\r\n$14\r\nlistening-port\r\n$4\r\n6380\r\n".to_vec();
    assert_eq!(link.receive(&mut input), Some(Event::Send(expected)));
}

proptest! {
    #[test]
    fn garbage_never_panics_and_is_never_kept(
        greeting in prop::sample::select(vec!["", "+PONG\r\n", "+PONG\r\n+OK\r\n+OK\r\n+FULLRESYNC "]),
        garbage in prop::collection::vec(any::<u8>(), 0..4000),
        sizes in prop::collection::vec(1usize..600, 1..8),
    ) {
        let wire = [greeting.as_bytes(), &garbage].concat();
        let whole = transcript(options(), &wire, &[wire.len().max(1)]);
        prop_assert_eq!(transcript(options(), &wire, &sizes), whole);
    }
}
