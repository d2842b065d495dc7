//! The commands of the debugger's client.

use mlua::{ChunkMode, Lua, Table, Value, Variadic};

use super::super::error::{self, Raised, message_of};
use super::super::stack;
use super::{BREAKPOINTS_MAX, Debugger};
use crate::base::number::parse_i64;

const HELP: &[&str] = &[
    "Redis Lua debugger help:",
    "[h]elp               Show this help.",
    "[s]tep               Run current line and stop again.",
    "[n]ext               Alias for step.",
    "[c]ontinue           Run till next breakpoint.",
    "[l]ist               List source code around current line.",
    "[l]ist [line]        List source code around [line].",
    "                     line = 0 means: current position.",
    "[l]ist [line] [ctx]  In this form [ctx] specifies how many lines",
    "                     to show before/after [line].",
    "[w]hole              List all source code. Alias for 'list 1 1000000'.",
    "[p]rint              Show all the local variables.",
    "[p]rint <var>        Show the value of the specified variable.",
    "                     Can also show global vars KEYS and ARGV.",
    "[b]reak              Show all breakpoints.",
    "[b]reak <line>       Add a breakpoint to the specified line.",
    "[b]reak -<line>      Remove breakpoint from the specified line.",
    "[b]reak 0            Remove all breakpoints.",
    "[t]race              Show a backtrace.",
    "[e]val <code>        Execute some Lua code (in a different callframe).",
    "[r]edis <cmd>        Execute a Redis command.",
    "[m]axlen [len]       Trim logged Redis replies and Lua var dumps to len.",
    "                     Specifying zero as <len> means unlimited.",
    "[a]bort              Stop the execution of the script. In sync",
    "                     mode dataset changes will be retained.",
    "",
    "Debugger functions you can call from Lua scripts:",
    "redis.debug()        Produce logs in the debugger console.",
    "redis.breakpoint()   Stop execution like if there was a breakpoint in the",
    "                     next line of code.",
];

/// Lines that `list` shows before and behind the present one.
const CONTEXT: i64 = 5;
const SHOWN_BYTES_MIN: i64 = 60;

/// What the script does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Stay,
    GoOn,
}

/// Does what one command says, and answers it unless the script goes on.
pub fn run(debugger: &Debugger, lua: &Lua, words: &[Vec<u8>]) -> mlua::Result<Then> {
    let (name, args) = words.split_first().map_or((&b""[..], &[][..]), |(name, args)| (&name[..], args));
    let is = |long: &str| {
        name.eq_ignore_ascii_case(long.as_bytes()) || name.eq_ignore_ascii_case(&long.as_bytes()[..1])
    };
    if is("step") || is("next") {
        debugger.is_stepping.set(true);
        return Ok(Then::GoOn);
    }
    if is("continue") {
        return Ok(Then::GoOn);
    }
    if is("abort") {
        return Err(Raised::reply("ERR script aborted for user request"));
    }
    if is("help") {
        HELP.iter().for_each(|line| debugger.note(*line));
    } else if is("trace") {
        trace(debugger, lua);
    } else if is("maxlen") {
        maxlen(debugger, args);
    } else if is("break") {
        set_breakpoints(debugger, args);
    } else if is("eval") {
        eval(debugger, lua, args);
    } else if is("redis") && !args.is_empty() {
        redis(debugger, lua, args);
    } else if is("print") {
        match args {
            [name] => print(debugger, lua, name),
            _ => print_all(debugger, lua),
        }
    } else if is("list") {
        let around = args.first().map(|word| number(word)).filter(|line| *line > 0);
        let context = args.get(1).map_or(CONTEXT, |word| number(word));
        debugger.show_lines(around.unwrap_or(debugger.line.get()), context);
    } else if is("whole") {
        debugger.show_lines(0, 0);
    } else {
        debugger.note("<error> Unknown Redis Lua debugger command or wrong number of arguments.");
    }
    debugger.answer();
    Ok(Then::Stay)
}

/// The number that a word begins with, as C's `atoi` reads it.
fn number(word: &[u8]) -> i64 {
    let sign = usize::from(matches!(word.first(), Some(b'-' | b'+')));
    let digits = word[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = &word[usize::from(word.first() == Some(&b'+'))..sign + digits];
    i64::from(parse_i64(text).map_or(0, |n| n.clamp(i32::MIN.into(), i32::MAX.into()) as i32))
}

fn trace(debugger: &Debugger, lua: &Lua) {
    let mut level = 0;
    while let Some((is_script, name, line)) = lua.inspect_stack(level, |debug| {
        let is_script = debug.source().short_src.is_some_and(|name| name.contains("user_script"));
        let name = debug.names().name.map(|name| name.into_owned());
        (is_script, name, debug.current_line().map_or(-1, |line| line as i64))
    }) {
        if is_script {
            let begin = if level == 0 { "In" } else { "From" };
            debugger.note(format!("{begin} {}:", name.as_deref().unwrap_or("top level")));
            debugger.show_line(line);
        }
        level += 1;
    }
}

fn maxlen(debugger: &Debugger, args: &[Vec<u8>]) {
    if let [word] = args {
        debugger.is_hint_given.set(true);
        let bytes = match number(word) {
            0 => 0,
            bytes => bytes.max(SHOWN_BYTES_MIN),
        };
        debugger.shown_bytes_max.set(bytes as usize);
    }
    debugger.note(match debugger.shown_bytes_max.get() {
        0 => "<value> replies are unlimited.".to_owned(),
        bytes => format!("<value> replies are truncated at {bytes} bytes."),
    });
}

fn set_breakpoints(debugger: &Debugger, args: &[Vec<u8>]) {
    if args.is_empty() {
        let lines = debugger.breakpoints.borrow().clone();
        if lines.is_empty() {
            return debugger.note("No breakpoints set. Use 'b <line>' to add one.");
        }
        debugger.note(format!("{} breakpoints set:", lines.len()));
        lines.into_iter().for_each(|line| debugger.show_line(line));
    }
    for word in args {
        let Some(line) = parse_i64(word) else {
            debugger.note([b"Invalid argument:'", &word[..], b"'"].concat());
            continue;
        };
        let mut breakpoints = debugger.breakpoints.borrow_mut();
        match line {
            0 => {
                breakpoints.clear();
                debugger.note("All breakpoints removed.");
            }
            1.. if breakpoints.len() == BREAKPOINTS_MAX => debugger.note("Too many breakpoints set."),
            1.. if line as usize > debugger.source.len() => debugger.note("Wrong line number."),
            1.. => {
                if !breakpoints.contains(&line) {
                    breakpoints.push(line);
                }
                drop(breakpoints);
                debugger.show_lines(line, 1);
            }
            _ => {
                let before = breakpoints.len();
                breakpoints.retain(|known| Some(*known) != line.checked_neg());
                debugger.note(match breakpoints.len() < before {
                    true => "Breakpoint removed.",
                    false => "No breakpoint in the specified line.",
                });
            }
        }
    }
}

/// Runs code as an expression, or else as a statement. It runs as a coroutine, since nothing would end it in a hook.
fn eval(debugger: &Debugger, lua: &Lua, args: &[Vec<u8>]) {
    let code = args.join(&b' ');
    let compile =
        |code: &[u8]| lua.load(code).set_name("@ldb_eval").set_mode(ChunkMode::Text).into_function();
    let function = compile(&[b"return ", &code[..]].concat()).or_else(|_| compile(&code));
    debugger.resume();
    debugger.is_evaluating.set(true);
    let outcome = function.and_then(|function| lua.create_thread(function)?.resume::<Value>(()));
    debugger.is_evaluating.set(false);
    match outcome {
        Ok(value) => debugger.note_value("<retval> ", &value),
        Err(error) => debugger.show_error(&shown_error(lua, &error)),
    }
}

/// An error without what Lua's interface says of its place among the calls.
fn shown_error(lua: &Lua, error: &mlua::Error) -> Vec<u8> {
    const TRACEBACK: &[u8] = b"\nstack traceback:";
    let mut text = match error::plain(lua, Value::Error(Box::new(error.clone()))) {
        Ok(Value::Table(table)) => {
            table.raw_get::<mlua::String>("err").map_or(Vec::new(), |text| text.as_bytes().to_vec())
        }
        Ok(Value::String(text)) => text.as_bytes().to_vec(),
        _ => message_of(error).into_bytes(),
    };
    if let Some(end) = memchr::memmem::find(&text, TRACEBACK) {
        text.truncate(end);
    }
    text
}

/// Has the script's `redis.call` run a command, which shows it and its reply.
fn redis(debugger: &Debugger, lua: &Lua, args: &[Vec<u8>]) {
    debugger.is_stepping.set(true);
    let words: mlua::Result<Variadic<Value>> =
        args.iter().map(|word| lua.create_string(word).map(Value::String)).collect();
    // What becomes of it was shown.
    let _ = words.and_then(|words| {
        let redis: Table = lua.globals().get("redis")?;
        redis.get::<mlua::Function>("call")?.call::<Value>(words)
    });
    debugger.is_stepping.set(false);
}

/// The variable with this name that is nearest.
fn print(debugger: &Debugger, lua: &Lua, name: &[u8]) {
    let mut level = 0;
    while let Some(locals) = stack::locals(lua, level) {
        if let Some((_, value)) = locals.iter().find(|(local, _)| local.as_bytes() == name) {
            return debugger.note_value("<value> ", value);
        }
        level += 1;
    }
    let global = match name {
        b"KEYS" => lua.globals().get::<Value>("KEYS"),
        b"ARGV" => lua.globals().get::<Value>("ARGV"),
        _ => return debugger.note("No such variable."),
    };
    debugger.note_value("<value> ", &global.unwrap_or(Value::Nil));
}

fn print_all(debugger: &Debugger, lua: &Lua) {
    let locals = stack::locals(lua, 0).unwrap_or_default();
    let mut named = locals.iter().filter(|(name, _)| !name.contains("(*temporary)")).peekable();
    if named.peek().is_none() {
        debugger.note("No local variables in the current context.");
    }
    for (name, value) in named {
        debugger.note_value(&format!("<value> {name} = "), value);
    }
}
