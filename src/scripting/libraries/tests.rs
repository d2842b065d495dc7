//! The libraries as a script sees them, what Redis 7.0.15 answers being written down here.

use mlua::{Lua, LuaOptions, StdLib, Value};
use proptest::prelude::*;

use super::*;

/// A state as a sandbox makes it: `pcall` shows raised errors as strings.
fn state() -> Lua {
    let lua = Lua::new_with(StdLib::ALL_SAFE, LuaOptions::new()).unwrap();
    install(&lua).unwrap();
    lua.globals().set("caught", lua.create_function(caught).unwrap()).unwrap();
    lua.load(
        "local lua_pcall, caught = pcall, caught
         local function shown(ok, ...)
             if ok then return ok, ... end
             return ok, caught((...))
         end
         function pcall(...) return shown(lua_pcall(...)) end",
    )
    .exec()
    .unwrap();
    lua
}

/// What a script returns, as text; a raised error's sentence after `error:`.
fn run(lua: &Lua, script: impl AsRef<[u8]>) -> String {
    match lua.load(script.as_ref()).set_name("@user_script").call::<mlua::MultiValue>(()) {
        Ok(values) => values.iter().map(shown).collect::<Vec<_>>().join(" "),
        Err(error) => match raised(&error) {
            Some(sentence) => format!("error:{}", escaped(sentence)),
            None => panic!("{error}"),
        },
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => escaped(&text.as_bytes()),
        Value::Integer(integer) => integer.to_string(),
        Value::Number(number) => crate::base::number::format_g17(*number),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Nil => "nil".to_owned(),
        Value::LightUserData(data) if data.0.is_null() => "null".to_owned(),
        value => value.type_name().to_owned(),
    }
}

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\'", "'")
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    let lua = state();
    for (script, expected) in cases {
        assert_eq!(run(&lua, format!("return {script}")), *expected, "{script}");
    }
}

#[test]
fn the_tables_hold_what_those_of_redis_hold() {
    let lua = state();
    for (module, names) in [
        (
            "cjson",
            "_NAME _VERSION decode decode_invalid_numbers decode_max_depth encode encode_invalid_numbers \
             encode_keep_buffer encode_max_depth encode_number_precision encode_sparse_array new null",
        ),
        ("cmsgpack", "_COPYRIGHT _DESCRIPTION _NAME _VERSION pack unpack unpack_limit unpack_one"),
        ("struct", "pack size unpack"),
        ("bit", "arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex"),
    ] {
        let script = format!(
            "local names = {{}}
             for name in pairs({module}) do names[#names + 1] = name end
             table.sort(names)
             return table.concat(names, ' ')"
        );
        assert_eq!(run(&lua, script), names, "{module}");
    }
}

#[test]
fn json_is_written_as_by_cjson() {
    check(&[
        ("cjson.encode({1, 2, {a = 'x'}, cjson.null, true})", r#"[1,2,{\"a\":\"x\"},null,true]"#),
        ("cjson.encode({})", "{}"),
        ("cjson.encode(nil)", "null"),
        (r#"cjson.encode('/"\\\127\1\n\200')"#, r#"\"\\/\\\"\\\\\\u007f\\u0001\\n\xc8\""#),
        ("cjson.encode({[2] = 1})", "[null,1]"),
        ("cjson.encode({[1.5] = 1})", r#"{\"1.5\":1}"#),
        ("cjson.encode({[1e10] = 1})", r#"{\"10000000000\":1}"#),
        ("cjson.encode({[11] = 1})", "error:user_script:1: Cannot serialise table: excessively sparse array"),
        (
            "cjson.encode({[true] = 1})",
            "error:user_script:1: Cannot serialise boolean: table key must be a number or string",
        ),
        ("cjson.encode(tostring)", "error:user_script:1: Cannot serialise function: type not supported"),
        ("cjson.encode(0/0)", "error:user_script:1: Cannot serialise number: must not be NaN or Inf"),
        ("cjson.encode()", "error:user_script:1: bad argument #1 to 'encode' (expected 1 argument)"),
        ("pcall(cjson.encode)", "false bad argument #1 to '?' (expected 1 argument)"),
    ]);
}

#[test]
fn json_numbers_have_fourteen_digits() {
    check(&[
        ("cjson.encode(-0.0)", "-0"),
        ("cjson.encode(0.1)", "0.1"),
        ("cjson.encode(1/3)", "0.33333333333333"),
        ("cjson.encode(99999999999999)", "99999999999999"),
        ("cjson.encode(100000000000000)", "1e+14"),
        ("cjson.encode(123456789012345)", "1.2345678901234e+14"),
        ("cjson.encode(5e-324)", "4.9406564584125e-324"),
        ("cjson.encode(1e-5)", "1e-05"),
    ]);
}

#[test]
fn json_is_read_as_by_cjson() {
    check(&[
        (
            r#"cjson.encode(cjson.decode('[1, {"a": [null, -1.5e3]}, "x"]'))"#,
            r#"[1,{\"a\":[null,-1500]},\"x\"]"#,
        ),
        (r#"cjson.decode('"\\u00e9\\ud83d\\ude00\\/\\n"')"#, r"\xc3\xa9\xf0\x9f\x98\x80/\n"),
        ("cjson.decode('null') == cjson.null", "true"),
        ("cjson.decode('0x1F')", "31"),
        ("cjson.decode('0x1.8p3')", "12"),
        ("cjson.decode('-Infinity')", "-inf"),
        ("cjson.decode('1e999')", "inf"),
        ("cjson.decode('+5')", "5"),
        ("cjson.decode('12\\0 and more')", "12"),
        ("cjson.decode(5)", "5"),
    ]);
}

#[test]
fn json_errors_tell_where() {
    let cases = [
        ("", "value but found T_END at character 1"),
        ("[1", "comma or array end but found T_END at character 3"),
        ("[1,]", "value but found T_ARR_END at character 4"),
        ("{\"a\":1,}", "object key string but found T_OBJ_END at character 8"),
        ("{\"a\" 1}", "colon but found T_NUMBER at character 6"),
        ("{\"a\":1 \"b\"}", "comma or object end but found T_STRING at character 8"),
        ("1 2", "the end but found T_NUMBER at character 3"),
        ("nul", "value but found invalid token at character 1"),
        ("-", "value but found invalid number at character 1"),
        ("\"ab", "value but found unexpected end of string at character 4"),
        ("\"a\\\\x\"", "value but found invalid escape code at character 3"),
        ("\"a\\\\ud800\"", "value but found invalid unicode escape code at character 3"),
        ("@", "value but found invalid token at character 1"),
    ];
    let lua = state();
    for (text, expected) in cases {
        assert_eq!(
            run(&lua, format!("return cjson.decode('{text}')")),
            format!("error:user_script:1: Expected {expected}"),
            "{text}"
        );
    }
    check(&[(
        "cjson.decode('\\0\\0')",
        "error:user_script:1: JSON parser does not support UTF-16 or UTF-32",
    )]);
}

#[test]
fn json_settings_belong_to_their_table() {
    check(&[
        (
            "cjson.encode_sparse_array(), cjson.encode_max_depth(), cjson.decode_max_depth()",
            "false 1000 1000",
        ),
        ("cjson.encode_number_precision(), cjson.encode_keep_buffer()", "14 true"),
        ("cjson.encode_invalid_numbers(), cjson.decode_invalid_numbers()", "false true"),
        ("cjson.encode_sparse_array(true, 1, 1), cjson.encode({[3] = 1})", r#"true {\"3\":1}"#),
        ("cjson.new().encode_sparse_array()", "false 2 10"),
        ("cjson.encode_invalid_numbers('null'), cjson.encode({1/0})", "null [null]"),
        ("cjson.encode_invalid_numbers(true), cjson.encode({1/0, -1/0, 0/0})", "true [inf,-inf,nan]"),
        ("cjson.encode_number_precision(3), cjson.encode(12345)", "3 1.23e+04"),
        (
            "cjson.encode_max_depth(2), pcall(cjson.encode, {{{}}})",
            "2 false Cannot serialise, excessive nesting (3)",
        ),
        (
            "cjson.decode_max_depth(1), pcall(cjson.decode, '[[')",
            "1 false Found too many nested data structures (2) at character 2",
        ),
        (
            "pcall(cjson.decode_invalid_numbers, 'off'), pcall(cjson.decode, 'nan')",
            "true false Expected value but found invalid token at character 1",
        ),
        ("pcall(cjson.decode, '01')", "false Expected value but found invalid number at character 1"),
        (
            "pcall(cjson.encode_max_depth, 0)",
            "false bad argument #1 to '?' (expected integer between 1 and 2147483647)",
        ),
        ("pcall(cjson.encode_keep_buffer, 'x')", "false bad argument #1 to '?' (invalid option 'x')"),
        ("pcall(cjson.encode_max_depth, 1, 2)", "false bad argument #2 to '?' (found too many arguments)"),
    ]);
}

#[test]
fn msgpack_takes_the_shortest_form() {
    check(&[
        (
            "cmsgpack.pack(1, -1, 128, 2^32, -129, nil, true)",
            r"\x01\xff\xcc\x80\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xd1\xff\x7f\xc0\xc3",
        ),
        ("cmsgpack.pack(0.5, 0.1)", r"\xca?\x00\x00\x00\xcb?\xb9\x99\x99\x99\x99\x99\x9a"),
        ("cmsgpack.pack(2^63, -2^63)", r"\xca_\x00\x00\x00\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("cmsgpack.pack({}, {1, 'a'}, {a = 1}, {[2] = 1})", r"\x90\x92\x01\xa1a\x81\xa1a\x01\x81\x02\x01"),
        ("cmsgpack.pack(string.rep('a', 32)):sub(1, 3)", r"\xd9 a"),
        ("pcall(cmsgpack.pack)", "false bad argument #0 to '?' (MessagePack pack needs input.)"),
    ]);
}

#[test]
fn msgpack_cuts_what_is_nested_too_deep() {
    let lua = state();
    let script = "local t = {} t[1] = t return cmsgpack.pack(t)";
    assert_eq!(run(&lua, script), format!("{}\\xc0", "\\x91".repeat(16)));
}

#[test]
fn msgpack_is_unpacked_in_parts() {
    check(&[
        (r"cmsgpack.unpack('\1\161a\192\194')", "1 a nil false"),
        (r"cmsgpack.unpack('\207\255\255\255\255\255\255\255\255')", "-1"),
        (r"cmsgpack.unpack_one('\1\2', 0)", "1 1"),
        (r"cmsgpack.unpack_one('\1\2', 1)", "-1 2"),
        (r"cmsgpack.unpack_limit('\1\2\3', 2)", "2 1 2"),
        (r"cmsgpack.unpack_limit('\1\2\3', 0, 1)", "1"),
        (r"pcall(cmsgpack.unpack_one, '\1', 2)", "false Start offset 2 greater than input length 1."),
        (
            r"pcall(cmsgpack.unpack_one, '\1', -2)",
            "false Invalid request to unpack with offset of -2 and limit of 1.",
        ),
        (r"pcall(cmsgpack.unpack, '\193')", "false Bad data format in input."),
        (r"pcall(cmsgpack.unpack, '\221\255\255\255\255\1')", "false Missing bytes in input."),
        (r"pcall(cmsgpack.unpack, '\129\192\1')", "false table index is nil"),
    ]);
}

#[test]
fn msgpack_maps_take_tables_as_keys() {
    let lua = state();
    let script = r"local map = cmsgpack.unpack('\130\145\1\129\3\145\2\5\6')
        local key = next(map)
        if key == 5 then key = next(map, 5) end
        return key[1], map[key][3][1], map[5]";
    assert_eq!(run(&lua, script), "1 2 6");
}

#[test]
fn structures_have_order_and_alignment() {
    check(&[
        ("struct.pack('>I2<I2bx', 258, 258, -1)", r"\x01\x02\x02\x01\xff\x00"),
        ("struct.pack('!4bi', 1, 2)", r"\x01\x00\x00\x00\x02\x00\x00\x00"),
        ("struct.pack('>fd', 0.5, 0.5)", r"?\x00\x00\x00?\xe0\x00\x00\x00\x00\x00\x00"),
        ("struct.pack('sc2c0', 'a', 'bcd', 'ef')", r"a\x00bcef"),
        ("struct.pack('>i10', -2)", r"\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfe"),
        ("struct.pack('>L', 2^64)", r"\x00\x00\x00\x00\x00\x00\x00\x00"),
        ("struct.unpack('>I2bs', '\\1\\2\\255abc\\0')", "258 -1 abc 8"),
        ("struct.unpack('bc0', '\\2abc')", "ab 4"),
        ("struct.unpack('b', 'abc', 3)", "99 4"),
        ("struct.size('!bdi3')", "21"),
    ]);
}

#[test]
fn structures_refuse_what_does_not_fit() {
    check(&[
        ("pcall(struct.pack, '>I2147483648', 1)", "false integral size overflow"),
        ("pcall(struct.pack, 'i33', 1)", "false integral size 33 is larger than limit of 32"),
        ("pcall(struct.pack, '!3i', 1)", "false alignment 3 is not a power of 2"),
        ("pcall(struct.pack, 'z')", "false bad argument #1 to '?' (invalid format option 'z')"),
        ("pcall(struct.pack, 'i')", "false bad argument #2 to '?' (number expected, got nil)"),
        ("pcall(struct.pack, 'c4', 'abc')", "false bad argument #3 to '?' (string too short)"),
        ("pcall(struct.unpack, 'i', 'abc')", "false bad argument #2 to '?' (data string too short)"),
        (
            "pcall(struct.unpack, 'i', 'abcd', 0)",
            "false bad argument #3 to '?' (offset must be 1 or greater)",
        ),
        ("pcall(struct.unpack, 'c0', 'abcd')", "false format 'c0' needs a previous size"),
        ("pcall(struct.unpack, 'Bc0', '\\255abcd')", "false bad argument #2 to '?' (data string too short)"),
        ("pcall(struct.unpack, 's', 'abcd')", "false unfinished string in data"),
        ("pcall(struct.unpack, 'b', 'abcd', 2^62)", "false bad argument #2 to '?' (data string too short)"),
        ("pcall(struct.size, 's')", "false bad argument #1 to '?' (option 's' has no fixed size)"),
        ("pcall(struct.size, 'c0')", "false bad argument #1 to '?' (option 'c0' has no fixed size)"),
    ]);
}

#[test]
fn bits_wrap_and_round() {
    check(&[
        (
            "bit.tobit(2^31), bit.tobit(2^32 + 5), bit.tobit(0.5), bit.tobit(1.5), bit.tobit(0/0)",
            "-2147483648 5 0 2 0",
        ),
        ("bit.tobit(1e300), bit.tobit('0x10'), bit.tobit(1/0)", "-2013235812 16 0"),
        ("bit.bnot(0), bit.band(7, 14, 12), bit.bor(1, 2, 4), bit.bxor(6, 3)", "-1 4 7 5"),
        ("bit.lshift(1, 33), bit.rshift(-1, 28), bit.arshift(-16, 2)", "2 15 -4"),
        (
            "bit.rol(0x12345678, 12), bit.ror(0x12345678, 12), bit.bswap(0x12345678)",
            "1164411171 1736516421 2018915346",
        ),
        ("bit.tohex(255), bit.tohex(255, 2), bit.tohex(255, -4), bit.tohex(255, 0)", "000000ff ff 00FF "),
        ("bit.tohex(255, -2147483648)", "000000FF"),
        ("pcall(bit.band, 1, {}, nil)", "false bad argument #3 to '?' (number expected, got nil)"),
        ("pcall(bit.lshift, 1)", "false bad argument #2 to '?' (number expected, got no value)"),
    ]);
}

#[test]
fn errors_name_the_function_as_it_was_called() {
    check(&[
        ("cjson:decode(1)", "error:user_script:1: calling 'decode' on bad self (expected 1 argument)"),
        ("cjson:decode()", "error:user_script:1: calling 'decode' on bad self (string expected, got table)"),
        ("cjson.decode()", "error:user_script:1: bad argument #1 to 'decode' (expected 1 argument)"),
    ]);
    let lua = state();
    assert_eq!(
        run(&lua, "local d = cjson.decode\n\nlocal x = d() return x"),
        "error:user_script:3: bad argument #1 to 'd' (expected 1 argument)"
    );
}

#[test]
fn depth_ends_where_the_stack_of_lua_would() {
    let lua = state();
    run(&lua, "cjson.decode_max_depth(1e9) cjson.encode_max_depth(1e9)");
    check_in(
        &lua,
        &[
            (
                "pcall(cjson.decode, string.rep('[', 1e6))",
                "false Found too many nested data structures (7999) at character 7999",
            ),
            (
                "pcall(cjson.decode, string.rep('{\"a\":', 1e6))",
                "false Found too many nested data structures (4000) at character 19996",
            ),
            (
                r"pcall(cmsgpack.unpack, string.rep('\145', 1e6))",
                "false stack overflow (in function mp_decode_to_lua_array)",
            ),
            (
                r"pcall(cmsgpack.unpack, string.rep('\1', 1e6))",
                "false stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
            ),
            (
                "pcall(struct.unpack, string.rep('b', 1e4), string.rep('b', 1e4))",
                "false stack overflow (too many results)",
            ),
        ],
    );
    check_in(
        &lua,
        &[(
            r"pcall(cmsgpack.unpack, string.rep('\144', 1e6))",
            "false stack overflow (in function mp_decode_to_lua_array)",
        )],
    );
    let script = "local t = {} for i = 1, 1e6 do t = {t} end return pcall(cjson.encode, t)";
    assert_eq!(run(&lua, script), "false Cannot serialise, excessive nesting (7998)");
    let script = "local t = {} for i = 1, 1e6 do t = {a = t} end return pcall(cjson.encode, t)";
    assert_eq!(run(&lua, script), "false Cannot serialise, excessive nesting (4000)");
}

#[track_caller]
fn check_in(lua: &Lua, cases: &[(&str, &str)]) {
    for (script, expected) in cases {
        assert_eq!(run(lua, format!("return {script}")), *expected, "{script}");
    }
}

/// Tables deeper than the recursion goes, and than tables are held, come out as they went in.
#[test]
fn deep_tables_keep_what_stands_beside() {
    let lua = state();
    let script = r#"
        cjson.decode_max_depth(10000) cjson.encode_max_depth(10000)
        local text = string.rep('[2,[],{"a":[3,true],"b":', 600) .. '1' .. string.rep('},null]', 600)
        local again = cjson.encode(cjson.decode(text))
        return #again == #text, cjson.encode(cjson.decode(again)) == again
    "#;
    // An empty array comes back as an empty object of the same length.
    assert_eq!(run(&lua, script), "true true");
    let script = r"
        local text = string.rep('\147\1\129\2', 800) .. '\3' .. string.rep('\4', 800)
        local t, depth = cmsgpack.unpack(text), 0
        while type(t) == 'table' do
            if t[1] ~= 1 or t[3] ~= 4 then return 'lost', depth end
            t, depth = t[2][2], depth + 1
        end
        return t, depth";
    assert_eq!(run(&lua, script), "3 800");
}

#[test]
fn many_results_are_returned_without_holding_them() {
    check(&[
        (r"select('#', cmsgpack.unpack(string.rep('\144', 7900)))", "7900"),
        (r"select('#', cmsgpack.unpack(string.rep('\161a', 7900)))", "7900"),
        ("select('#', struct.unpack(string.rep('c1', 7900), string.rep('b', 7900)))", "7901"),
        ("select('#', struct.unpack(string.rep('s', 7900), string.rep('b\\0', 7900)))", "7901"),
        (r"#cmsgpack.pack(unpack(cmsgpack.unpack('\220\15\160' .. string.rep('\145\1', 4000))))", "8000"),
    ]);
}

#[test]
fn output_has_a_limit() {
    let lua = state();
    // Doubling forty times would be a tebibyte.
    let script =
        "local t = {string.rep('a', 1e6)} for i = 1, 40 do t = {t, t} end return pcall(cjson.encode, t)";
    assert_eq!(run(&lua, script), "false not enough memory");
    let script =
        "local t = {string.rep('a', 1e8)} for i = 1, 14 do t = {t, t} end return pcall(cmsgpack.pack, t)";
    assert_eq!(run(&lua, script), "false not enough memory");
}

#[test]
fn long_and_broken_input_ends_soon() {
    check(&[
        (
            "pcall(cjson.decode, '\"' .. string.rep('\\\\u', 1e6))",
            "false Expected value but found invalid unicode escape code at character 2",
        ),
        ("#cjson.decode('\"' .. string.rep('\\\\u0041', 1e6) .. '\"')", "1000000"),
        ("cjson.decode('0x' .. string.rep('f', 1e6))", "inf"),
        ("cjson.decode('0x0.' .. string.rep('0', 1e6) .. '1p4000004')", "1"),
        ("cjson.decode('0x1p' .. string.rep('9', 1e6))", "inf"),
        ("cjson.decode('0.' .. string.rep('0', 1e6) .. '1e1000001')", "1"),
        ("cjson.decode(string.rep(' ', 1e6) .. '1')", "1"),
        (
            "pcall(cjson.decode, string.rep('[1,', 900))",
            "false Expected value but found T_END at character 2701",
        ),
        (
            r"pcall(cmsgpack.unpack, '\223\255\255\255\255' .. string.rep('\1', 1e6))",
            "false Missing bytes in input.",
        ),
        (
            r"pcall(cmsgpack.unpack, '\219\255\255\255\255' .. string.rep('\1', 1e6))",
            "false Missing bytes in input.",
        ),
        (
            r"pcall(cmsgpack.unpack, string.rep('\223\255\255\255\255\1', 1e4))",
            "false stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
        ),
        ("#struct.pack(string.rep('x', 1e6))", "1000000"),
        ("struct.size(string.rep('c2147483647', 1e5))", "214748364700000"),
        (
            "pcall(struct.unpack, 'c2147483647', 'abc')",
            "false bad argument #2 to '?' (data string too short)",
        ),
        (
            "pcall(struct.unpack, '!1073741824bd', string.rep('a', 20), 9.2e18)",
            "false bad argument #2 to '?' (data string too short)",
        ),
        ("pcall(struct.pack, 'c2147483647', 'abc')", "false bad argument #3 to '?' (string too short)"),
    ]);
}

/// Data that survives JSON and MessagePack, as the text of a Lua expression.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i32>().prop_map(|number| number.to_string()),
        any::<i16>().prop_map(|number| (f64::from(number) / 64.0).to_string()),
        any::<bool>().prop_map(|boolean| boolean.to_string()),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(quoted),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 1..6)
                .prop_map(|values| format!("{{{}}}", values.join(","))),
            proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..9), inner), 1..6).prop_map(
                |pairs| {
                    let pairs = pairs.into_iter().map(|(key, value)| format!("[{}]={value}", quoted(key)));
                    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
                }
            ),
        ]
    })
}

fn quoted(bytes: Vec<u8>) -> String {
    let escaped: String = bytes.iter().map(|byte| format!("\\{byte:03}")).collect();
    format!("\"{escaped}\"")
}

const SAME: &str = "
    local function same(a, b)
        if type(a) ~= 'table' or type(b) ~= 'table' then return a == b end
        for key, value in pairs(a) do if not same(value, b[key]) then return false end end
        for key in pairs(b) do if a[key] == nil then return false end end
        return true
    end
    local data = ";

proptest! {
    #[test]
    fn data_survives_json_and_msgpack(data in expression()) {
        let lua = state();
        let script = format!(
            "{SAME} {data} return same(data, cjson.decode(cjson.encode(data))), \
             same(data, cmsgpack.unpack(cmsgpack.pack(data)))"
        );
        prop_assert_eq!(run(&lua, script), "true true");
    }

    #[test]
    fn structures_survive(
        small in any::<i8>(), wide in any::<u32>(), long in -(1i64 << 53)..(1i64 << 53), float in any::<f32>(),
        text in proptest::collection::vec(1u8.., 0..20), order in prop_oneof![Just('<'), Just('>')], align in 0..4u32,
    ) {
        prop_assume!(!float.is_nan());
        let lua = state();
        let format = format!("{order}!{}b I4 l f d s H c0", 1 << align);
        let text = quoted(text);
        let float = if float.is_finite() { format!("{:e}", f64::from(float)) } else { format!("{}/0", float.signum()) };
        let script = format!(
            "local t = {text}
             local small, wide, long, float, double, s, rest =
                 struct.unpack('{format}', struct.pack('{format}', {small}, {wide}, {long}, {float}, {float}, t, #t, t))
             return small == {small} and wide == {wide} and long == {long} and float == {float} and double == {float}
                 and s == t and rest == t"
        );
        prop_assert_eq!(run(&lua, script), "true");
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let lua = state();
        lua.globals().set("bytes", lua.create_string(&bytes).unwrap()).unwrap();
        for script in [
            "return (pcall(cjson.decode, bytes))",
            "return (pcall(cmsgpack.unpack, bytes))",
            "return (pcall(cmsgpack.unpack_one, bytes, 1))",
            "return (pcall(struct.unpack, bytes, bytes))",
            "return (pcall(struct.pack, bytes, bytes, 1, bytes, 2, bytes, 3))",
            "return (pcall(struct.size, bytes))",
        ] {
            prop_assert!(matches!(run(&lua, script).as_str(), "true" | "false"));
        }
    }

    #[test]
    fn text_like_json_is_read_or_refused(text in r#"[\[\]{}:,"\\u0-9a-f.+\-eExX nulltrs]{0,60}"#) {
        let lua = state();
        lua.globals().set("text", text).unwrap();
        let script = "local ok, value = pcall(cjson.decode, text)
            if not ok then return true end
            cjson.encode_invalid_numbers(true)
            cjson.encode_sparse_array(true)
            return type(cjson.encode(value)) == 'string'";
        prop_assert_eq!(run(&lua, script), "true");
    }

    #[test]
    fn any_numbers_are_bits(a in any::<u64>(), b in any::<u64>()) {
        let lua = state();
        lua.globals().set("a", f64::from_bits(a)).unwrap();
        lua.globals().set("b", f64::from_bits(b)).unwrap();
        let script = "local x, y = bit.tobit(a), bit.tobit(b)
            return bit.bxor(a, b) == bit.bor(bit.band(x, bit.bnot(y)), bit.band(bit.bnot(x), y)),
                bit.rol(a, b) == bit.ror(a, bit.band(32 - bit.band(b, 31), 31)), #bit.tohex(a, b) <= 8,
                bit.bswap(bit.bswap(a)) == x";
        prop_assert_eq!(run(&lua, script), "true true true true");
    }
}
