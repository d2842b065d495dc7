//! A master with two replicas is killed at any moment: nothing is lost that WAIT has confirmed on both.
//!
//! Clients append numbered records to lists of their own and WAIT for both replicas. After the kill a replica is promoted, or
//! all three, killed one after the other, come back from their append-only files. `RUSSET_CRASH_ROUNDS` asks for more rounds
//! than the few that every run of the tests has.

use std::time::Duration;

use crate::harness::{Client, Server, becomes, ok};
use crate::replication::{Make, replica_of, wait_until_linked};

const CLIENTS: usize = 4;
const ROUNDS: u64 = 2;

fn rounds() -> u64 {
    std::env::var("RUSSET_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

fn list_of(index: usize) -> String {
    format!("list:{index}")
}

/// Appends records behind the ones that are there until the server is gone; the last that both replicas had.
fn append(port: u16, list: &str, mut record: u64, rng: &mut fastrand::Rng) -> u64 {
    let mut confirmed = record;
    let Ok(mut client) = Client::try_connect(port) else { return confirmed };
    loop {
        for _ in 0..[1, 1, 3, 10][rng.usize(..4)] {
            record += 1;
            match client.try_call(&["RPUSH", list, &record.to_string()]) {
                Ok(reply) => assert_eq!(reply.as_integer(), Some(record as i64), "{list}: {reply:?}"),
                Err(_) => return confirmed,
            }
        }
        match client.try_call(&["WAIT", "2", "5000"]) {
            Ok(reply) if reply.as_integer() == Some(2) => confirmed = record,
            Ok(_) => {}
            Err(_) => return confirmed,
        }
    }
}

/// Has clients append to a master until it is killed; what each of them was confirmed.
fn write_until_killed(master: &mut Server, kept: &[u64], rng: &mut fastrand::Rng) -> Vec<u64> {
    let port = master.port;
    std::thread::scope(|scope| {
        let writers: Vec<_> = kept
            .iter()
            .enumerate()
            .map(|(index, &record)| {
                let mut rng = rng.fork();
                scope.spawn(move || append(port, &list_of(index), record, &mut rng))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(rng.u64(20..400)));
        master.kill();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    })
}

/// What a server has of each list, which must be without a gap and reach what was confirmed.
fn look(client: &mut Client, confirmed: &[u64], round: u64) -> Vec<u64> {
    let of_list = |(index, &confirmed): (usize, &u64)| {
        let list = client.call(&format!("LRANGE {} 0 -1", list_of(index)));
        let texts = list.elements().unwrap().iter().map(|record| record.as_bytes().unwrap().to_vec());
        let records: Vec<u64> = texts.map(|text| String::from_utf8(text).unwrap().parse().unwrap()).collect();
        let kept = records.len() as u64;
        assert!(records.into_iter().eq(1..=kept), "round {round}: records of {} are missing", list_of(index));
        assert!(kept >= confirmed, "round {round}: {kept} records are there, {confirmed} were confirmed");
        kept
    };
    confirmed.iter().enumerate().map(of_list).collect()
}

/// Both replicas have all that their master has.
fn wait_until_attached(client: &mut Client) {
    client.call("SET attached 1");
    becomes("both replicas are there", &2, || client.integer("WAIT 2 100"));
}

#[test]
fn a_promoted_replica_has_what_wait_confirmed() {
    let mut rng = fastrand::Rng::with_seed(11);
    let (mut kept, mut total) = (vec![0; CLIENTS], 0);
    let mut master = Server::russet(&[]);
    let mut replicas = vec![replica_of(Make::Russet, master.port), replica_of(Make::Russet, master.port)];
    for round in 0..rounds() {
        wait_until_attached(&mut master.client());
        let confirmed = write_until_killed(&mut master, &kept, &mut rng);
        total += confirmed.iter().zip(&kept).map(|(confirmed, kept)| confirmed - kept).sum::<u64>();
        // Whichever it is, it has them; the other one and a new one follow it.
        let promoted = replicas.swap_remove(rng.usize(..2));
        let mut client = promoted.client();
        assert_eq!(client.call("REPLICAOF NO ONE"), ok());
        kept = look(&mut client, &confirmed, round);
        let other = replicas.pop().unwrap();
        other.client().call(&format!("REPLICAOF 127.0.0.1 {}", promoted.port));
        replicas = vec![other, replica_of(Make::Russet, promoted.port)];
        master = promoted;
    }
    assert!(total > 0, "nothing was ever confirmed");
}

#[test]
fn a_group_that_comes_back_from_its_files_has_what_wait_confirmed() {
    let mut rng = fastrand::Rng::with_seed(12);
    let (mut kept, mut total) = (vec![0; CLIENTS], 0);
    let persists = [
        ["--appendonly", "yes"],
        ["--appendfsync", "always"],
        ["--auto-aof-rewrite-min-size", "32kb"],
        ["--auto-aof-rewrite-percentage", "50"],
    ]
    .concat();
    let mut master = Server::russet(&persists);
    let address = format!("127.0.0.1 {}", master.port);
    let replica_args = [&persists[..], &["--replicaof", &address]].concat();
    let mut replicas = [Server::russet(&replica_args), Server::russet(&replica_args)];
    for round in 0..rounds() {
        wait_until_attached(&mut master.client());
        let confirmed = write_until_killed(&mut master, &kept, &mut rng);
        total += confirmed.iter().zip(&kept).map(|(confirmed, kept)| confirmed - kept).sum::<u64>();
        // WAIT tells of what replicas have in memory: all of them being gone, the master's file has it. (Not with `everysec`:
        // while an fsync is under way what is written waits, as in Redis.)
        for replica in &mut replicas {
            replica.kill();
        }
        master.restart();
        kept = look(&mut master.client(), &confirmed, round);
        for replica in &mut replicas {
            replica.restart();
            wait_until_linked(&mut replica.client());
            look(&mut replica.client(), &confirmed, round);
        }
    }
    assert!(total > 0, "nothing was ever confirmed");
}
