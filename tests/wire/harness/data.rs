//! A data set with every type in every size, and the digest by which two of them are compared.

use super::Client;

/// Writes about `keys` keys of all types into databases 0 and 3, by pipelines.
pub fn fill(client: &mut Client, keys: usize) {
    let mut requests = Vec::new();
    let mut count = 0;
    let mut add = |args: &[&str]| {
        russet::resp::reply::write_request(&mut requests, args.iter());
        count += 1;
    };
    for db in ["0", "3"] {
        add(&["SELECT", db]);
        for i in 0..keys / 2 {
            let (key, text) = (format!("{db}:{i}"), format!("value {i} of database {db}"));
            match i % 8 {
                0 => add(&["SET", &key, &text]),
                1 => add(&["SET", &key, &i.to_string()]),
                2 => add(&["SET", &key, &text, "PXAT", "4102444800000"]),
                3 => add(&["RPUSH", &key, &text, "2", "-70000", &text.repeat(20)]),
                4 => add(&["SADD", &key, "1", "-5", &i.to_string()]),
                5 => add(&["SADD", &key, "one", &text]),
                6 => add(&["HSET", &key, "field", &text, "number", &i.to_string()]),
                _ => add(&["SET", &key, &text.repeat(1 + i % 100)]),
            }
        }
        for (index, key) in ["list", "set", "hash"].iter().enumerate() {
            for i in 0..600 {
                let (element, key) = (format!("{key} element {i}"), format!("big {key}"));
                match index {
                    0 => add(&["RPUSH", &key, &element]),
                    1 => add(&["SADD", &key, &element]),
                    _ => add(&["HSET", &key, &element, "x"]),
                }
            }
        }
        add(&["XGROUP", "CREATE", "big stream", "group", "0", "MKSTREAM"]);
        for i in 1..=600 {
            let (id, value) = (format!("{i}-{}", i % 3), format!("value {i}"));
            add(&["XADD", "big stream", &id, "field", &value, "number", &i.to_string()]);
        }
        add(&["XREADGROUP", "GROUP", "group", "consumer", "COUNT", "50", "STREAMS", "big stream", ">"]);
        add(&["XDEL", "big stream", "7-1", "300-0"]);
        add(&["XACK", "big stream", "group", "8-2"]);
    }
    add(&["SELECT", "0"]);
    let mut sender = client.sender();
    std::thread::scope(|scope| {
        scope.spawn(move || std::io::Write::write_all(&mut sender, &requests));
        for _ in 0..count {
            let reply = client.read();
            assert!(!reply.is_error(), "{reply:?}");
        }
    });
}

#[track_caller]
pub fn digest(client: &mut Client) -> String {
    client.text("DEBUG DIGEST")
}
