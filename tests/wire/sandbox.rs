//! What scripts may not do to the server: one test for each kind of fault that was published of Lua in servers. Whatever a
//! script tries, the connection reads an answer, the next script finds everything as it was, and others are served.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use russet::resp::value::Value;

use crate::harness::{Client, Server, eventually, ok};

const PONG: &[u8] = b"PONG";

fn server() -> Server {
    Server::russet(&["--busy-reply-threshold", "50", "--lua-memory-limit", "64mb"])
}

fn eval(client: &mut Client, script: &str) -> Value {
    client.call_args(&["EVAL", script, "0"])
}

/// The text of a reply: an error's line, or a string.
fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned()
}

/// Each script ends by itself, and with an answer that has this in it; the server is then as it was.
fn end_well(cases: &[(&str, &str)]) {
    let server = server();
    let mut client = server.client();
    for (script, expected) in cases {
        let reply = eval(&mut client, script);
        let shown = match &reply {
            Value::Bulk(_) | Value::Error(_) | Value::Simple(_) => text(&reply),
            other => format!("{other:?}"),
        };
        assert!(shown.contains(expected), "{script}\n  answers {shown}\n  and not {expected}");
        assert_eq!(server.client().call("PING"), Value::Simple(PONG.to_vec()), "{script}");
        assert_eq!(
            eval(&mut client, "return string.rep(tostring(#'abc'), 2)"),
            Value::Bulk(b"33".to_vec()),
            "{script}"
        );
    }
}

#[test]
fn bytecode_is_never_loaded() {
    end_well(&[
        ("return loadstring('\\27Lua\\81\\0\\1\\4\\8\\4\\8\\0') == nil", "1"),
        ("return loadstring(string.dump(function() return 1 end)) == nil", "1"),
        ("return load(function() return '\\27Lua' end) == nil", "1"),
        (
            "local parts = {'', '\\27', 'Lua'} local at = 0 return load(function() at = at + 1 return parts[at] end) == nil",
            "1",
        ),
        ("return loadstring('\\27', '=x') == nil", "1"),
        ("\u{1b}Lua", "ERR Error compiling script"),
    ]);
}

#[test]
fn hostile_messages_and_structures_are_refused() {
    end_well(&[
        ("return cmsgpack.unpack(string.rep('\\145', 1000000))", "ERR"),
        ("return cmsgpack.unpack('\\221\\255\\255\\255\\255')", "ERR"),
        ("return cmsgpack.unpack('\\223\\255\\255\\255\\255\\1\\1')", "ERR"),
        ("return cmsgpack.unpack('\\219\\255\\255\\255\\255abc')", "ERR"),
        ("return cmsgpack.unpack_limit('\\1\\1\\1', 1, 99)", "ERR"),
        ("return cmsgpack.unpack_limit('\\1\\1\\1', -1, -99)", "ERR"),
        ("local t = {} for i = 1, 100000 do t = {t} end return #cmsgpack.pack(t)", ""),
        ("local t = {} t[1] = t return #cmsgpack.pack(t)", ""),
        ("local t = {} t[1] = t return cjson.encode(t)", "ERR"),
        ("return cjson.decode(string.rep('[', 1000000))", "ERR"),
        ("return cjson.decode(string.rep('{\"a\":', 1000000))", "ERR"),
        ("return struct.unpack('c2147483647', 'x')", "ERR"),
        ("return struct.unpack('i4', 'xxxx', 2147483647)", "ERR"),
        ("return struct.unpack('i4', 'xxxx', -2147483648)", "ERR"),
        ("return struct.pack('i99', 1)", "ERR"),
        ("return struct.pack('!99 i4', 1)", "ERR"),
        ("return struct.unpack('Bc0', '\\255')", "ERR"),
        ("return bit.tohex(1, -2147483648)", ""),
    ]);
}

#[test]
fn deep_nesting_ends_in_an_error() {
    end_well(&[
        ("return loadstring('return ' .. string.rep('(', 100000)) == nil", "1"),
        ("return loadstring('return ' .. string.rep('{', 100000)) == nil", "1"),
        ("return loadstring('return ' .. string.rep('not ', 100000) .. '1') == nil", "1"),
        ("return loadstring(string.rep('do ', 100000)) == nil", "1"),
        ("return loadstring(string.rep('function f() ', 100000)) == nil", "1"),
        ("return loadstring('return ' .. string.rep('a..', 100000) .. 'a') == nil", "1"),
        ("return loadstring('x = ' .. string.rep('a.', 300) .. 'a') ~= nil", "1"),
        ("local function f() return f() + 1 end return f()", "stack overflow"),
        ("local t = setmetatable({}, {__index = function(t, k) return t[k] end}) return t.x", "ERR"),
        ("local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x", "ERR"),
        ("local function f() return coroutine.wrap(f)() end return f()", "ERR"),
        ("local function f(s) return string.gsub(s, '.', f) end return f('x')", "ERR"),
        ("local function f() return pcall(f) end return f()", ""),
        ("local function f() return xpcall(f, f) end return f()", ""),
        ("return xpcall(function() error('x') end, function() error('y') end)", "Null"),
    ]);
}

#[test]
fn a_reply_that_nests_too_deep_says_so_at_its_bottom() {
    let server = server();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"EVAL \"local t = {} for i = 1, 100000 do t = {t} end return t\" 0\r\n").unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n") || !reply.contains(&b'-') {
        let mut part = [0; 4096];
        let received = stream.read(&mut part).unwrap();
        assert!(received > 0, "the server closed the connection");
        reply.extend_from_slice(&part[..received]);
    }
    let reply = String::from_utf8(reply).unwrap();
    let levels = reply.matches("*1\r\n").count();
    assert!((7000..8000).contains(&levels), "{levels} levels");
    assert_eq!(reply, "*1\r\n".repeat(levels) + "-ERR reached lua stack limit\r\n");
    assert_eq!(server.client().call("PING"), Value::Simple(b"PONG".to_vec()));
}

#[test]
fn patterns_and_formats_are_bounded() {
    end_well(&[
        ("return string.find('x', string.rep('(', 100))", "too many captures"),
        ("return string.find(string.rep('a', 300000), string.rep('(a*)', 40))", "too many captures"),
        ("return string.find('x', string.rep('x?', 100000))", "pattern too complex"),
        ("return string.gsub('x', string.rep('.-', 100000), '')", "pattern too complex"),
        ("return string.find(string.rep('a', 10000), '.-b')", "Null"),
        ("return string.find(string.rep('x', 100000), string.rep('x', 100000), 1, true)", "1"),
        ("return string.format('%9999d', 1)", "ERR"),
        ("return string.format('%99.99f', 1e308)", "1"),
        ("return string.format('%s', string.rep('x', 100)) == string.rep('x', 100)", "1"),
        ("return #string.format('%q', string.rep('\\0', 100000))", "400002"),
        ("return string.format(string.rep('%', 99999))", "ERR"),
        ("return string.rep('', 2147483647)", ""),
        ("return #string.rep('x', -2147483648)", "0"),
        ("return string.rep('x', 2147483647)", "ERR"),
        ("return string.rep(string.rep('x', 1000000), 1000000)", "ERR"),
        ("return string.byte(string.rep('x', 1000000), 1, -1)", "string slice too long"),
    ]);
}

#[test]
fn ranges_and_counts_are_checked() {
    end_well(&[
        ("return unpack({}, 1, 2147483647)", "too many results to unpack"),
        ("return unpack({}, -2147483648, 2147483647)", "too many results to unpack"),
        ("return unpack({}, 0, 2147483647)", "too many results to unpack"),
        ("return select('#', unpack({}, 1, 7990))", "7990"),
        ("return table.concat({}, '', 1, 2147483647)", "invalid value"),
        ("return table.concat({}, '', -2147483648, 1)", "invalid value"),
        ("table.insert({}, -2147483648, 1)", "ERR"),
        ("return table.remove({}, 2147483647)", "Null"),
        ("return select(-2147483648, 1)", "ERR"),
        ("return math.random(0)", "interval is empty"),
        ("local t = {3, 1, 2} table.sort(t, function() return true end) return 1", ""),
        (
            "local t = {} for i = 1, 100 do t[i] = i % 7 end table.sort(t, function(a, b) return math.random() > 0.5 end) return 1",
            "",
        ),
    ]);
}

#[test]
fn nothing_stays_for_the_next_script() {
    let server = server();
    let mut client = server.client();
    for attempt in [
        "x = 1",
        "_G.x = 1",
        "rawset(_G, 'x', 1)",
        "getmetatable(_G).__index = {x = 1}",
        "setmetatable(_G, {__index = {x = 1}})",
        "string.x = 1",
        "rawset(string, 'x', 1)",
        "table.insert(string, 1)",
        "getmetatable('').__index.x = 1",
        "getmetatable('').__index = {x = 1}",
        "setmetatable(redis, {})",
        "redis.call = function() return 'x' end",
        "cjson.encode = nil",
        "KEYS.x = 1",
        "KEYS = {'x'}",
        "tostring = function() return 'x' end",
        "local real = pcall pcall = function() return real end",
        "for name, value in pairs(redis) do redis[name] = nil end",
        "local t = next({[string] = 1}) t.x = 1",
        "table.sort(string, function() end)",
        "collectgarbage('stop')",
        "collectgarbage('setpause', 1000000)",
        "cjson.encode_max_depth(1) cjson.decode_max_depth(1)",
        "coroutine.wrap(function() x = 1 end)()",
        "loadstring('x = 1')()",
    ] {
        for reader in [
            "return rawget(_G, 'x') == nil",
            "return string.x == nil and ('').x == nil",
            "return redis.call('PING').ok == 'PONG' and tostring(1) == '1'",
            "return KEYS.x == nil and #KEYS == 0",
        ] {
            eval(&mut client, attempt);
            assert_eq!(eval(&mut client, reader), Value::Integer(1), "{attempt}\n{reader}");
        }
    }
}

#[test]
fn what_reaches_outside_is_absent() {
    let server = server();
    let mut client = server.client();
    for name in [
        "print",
        "io",
        "package",
        "debug",
        "require",
        "dofile",
        "loadfile",
        "getfenv",
        "setfenv",
        "newproxy",
        "module",
        "os.execute('true')",
        "os.getenv('HOME')",
        "os.exit(0)",
        "string.dump(print)",
        "debug.getregistry",
    ] {
        let reply = eval(&mut client, &format!("return {name}"));
        assert!(matches!(reply, Value::Error(_)), "{name}: {reply:?}");
    }
}

#[test]
fn what_a_script_may_hold_is_bounded() {
    let server = server();
    let mut client = server.client();
    for script in [
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local t = {} for i = 1, 1e9 do t['k' .. i] = {} end",
        "local t = {} while true do t = {t} end",
        "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
        "local t = {} for i = 1, 1e9 do t[i] = function() return i end end",
        "local t = {} while true do pcall(function() for i = 1, 1e9 do t[#t + 1] = ('x'):rep(100000) .. i end end) error('over') end",
        "redis.call('SET', 'big', string.rep('x', 20000000)) local t = {} while true do t[#t + 1] = redis.call('GETRANGE', 'big', #t, -1) end",
        "local t = {} for i = 1, 1000000 do t[i] = ('x'):rep(30) end return cjson.encode(t) .. cmsgpack.pack(t) .. table.concat(t):rep(2)",
    ] {
        let reply = eval(&mut client, script);
        assert!(matches!(reply, Value::Error(_)), "{script}: {reply:?}");
        assert_eq!(
            eval(&mut client, "return #string.rep('x', 10000000)"),
            Value::Integer(10_000_000),
            "{script}"
        );
    }
    client.call("DEL big");
    let held: u64 = client.info("used_memory_vm_eval").parse().unwrap();
    assert!(held < 64 << 20, "{held} bytes are held");
}

#[test]
fn a_loop_is_stopped_wherever_it_is() {
    let server = server();
    for script in [
        "repeat local ok = pcall(error) until false",
        "while true do xpcall(error, function() while true do end end) end",
        "local function f() return xpcall(f, f) end while true do f() end",
        "while true do coroutine.wrap(function() while true do coroutine.yield() end end)() end",
        "while true do pcall(coroutine.wrap(function() while true do pcall(error) end end)) end",
        "string.gsub(string.rep('x', 1000000), '.', function() while true do end end)",
        "table.sort({1, 2, 3}, function() while true do end end)",
        "local t = setmetatable({}, {__index = function() while true do end end}) return t.x",
        "local t = setmetatable({}, {__lt = function() while true do end end}) return t < t",
        "for piece in string.gmatch('a b c', function() end) do end while true do end",
        "while true do redis.pcall('GET', 'k') end",
        "while true do pcall(redis.call, 'NOSUCH') end",
        "while true do pcall(loadstring, 'x x') end",
        "load(function() while true do end end)",
        "local function f(...) return f(1, ...) end return f()",
        "local e = setmetatable({}, {__index = function() while true do end end}) error(e)",
        "while true do local s = string.rep('x', 1000) end",
        "while true do local s = string.rep('x', 10000000) end",
        "local function f() for i = 1, 5000 do end end \
         local function g() for i = 1, 1000 do coroutine.wrap(f)() end end while true do coroutine.wrap(g)() end",
    ] {
        let mut runner = server.client();
        let script_words = ["EVAL", script, "0"];
        let mut request = Vec::new();
        russet::resp::reply::write_request(&mut request, script_words.iter());
        runner.send_raw(&request);
        let mut other = server.client();
        let is_busy = |reply: &Value| matches!(reply, Value::Error(text) if text.starts_with(b"BUSY"));
        let mut is_over = false;
        eventually("others are told", || {
            is_over = runner.has_reply();
            is_over || is_busy(&other.call("PING"))
        });
        if !is_over {
            assert!(is_busy(&server.client().call("GET k")), "{script}");
            assert_eq!(other.call("SCRIPT KILL"), ok(), "{script}");
        }
        assert!(matches!(runner.read(), Value::Error(_)), "{script}");
        eventually("the server goes on", || other.call("PING") == Value::Simple(PONG.to_vec()));
        assert_eq!(eval(&mut other, "return 7"), Value::Integer(7), "{script}");
    }
}

#[test]
fn a_script_of_slow_commands_is_stopped_between_two_of_them() {
    // Only instructions were counted, and a command is no more than a few.
    let server = server();
    let mut other = server.client();
    for key in ["one", "two"] {
        assert_eq!(other.call_args(&["SET", key, &key.repeat(1000)]), ok());
    }
    let mut runner = server.client();
    runner.send_raw(b"EVAL \"while true do redis.call('LCS', 'one', 'two') end\" 0\r\n");
    eventually("it is stopped", || other.call("SCRIPT KILL") == ok());
    assert!(matches!(runner.read(), Value::Error(_)));
    eventually("the server goes on", || other.call("PING") == Value::Simple(PONG.to_vec()));
}

#[test]
fn a_command_takes_as_many_words_as_the_stack_holds() {
    let server = server();
    let mut client = server.client();
    let script = |count: usize, call: &str| {
        format!("local keys = {{}} for i = 1, {count} do keys[i] = 'k' .. i end return {call}")
    };
    let call = "redis.call('DEL', unpack(keys))";
    assert_eq!(eval(&mut client, &script(7999, call)), Value::Integer(0));
    assert!(text(&eval(&mut client, &script(8000, call))).contains("too many results to unpack"));
    let twice = "redis.call('MSET', unpack(keys)).ok .. redis.call('DEL', unpack(keys))";
    assert_eq!(eval(&mut client, &script(7998, twice)), Value::Bulk(b"OK3999".to_vec()));
}
