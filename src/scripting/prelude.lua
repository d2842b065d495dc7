-- What a script sees: the globals of Redis, and nothing that it could leave behind for the next one.
--
-- Lua 5.1 cannot make a table read-only, so each shared table is reached through an empty one that stands for it: reads
-- fall through, writes are refused, and the few functions that bypass metatables (next, rawset, table.insert...) are
-- replaced by ones that know. Returns what the interpreter needs of here.

local native, is_for_functions = ...
local error, getmetatable, next, pcall, rawget, rawset = error, getmetatable, next, pcall, rawget, rawset
local select, setmetatable, tonumber, tostring, type, xpcall = select, setmetatable, tonumber, tostring, type, xpcall
local byte, match = string.byte, string.match
local globals = _G

local READONLY = "Attempt to modify a readonly table"

-- What a read-only table stands for, and what it shows as its metatable.
local behind, shown = {}, {}

local function refuse()
  error(READONLY, 2)
end

local function protect(table, index)
  local front = {}
  behind[front] = table
  setmetatable(front, { __index = index or table, __newindex = refuse, __metatable = false })
  return front
end

local function expect_table(value, name)
  if type(value) ~= "table" then
    error("bad argument #1 to '" .. name .. "' (table expected, got " .. type(value) .. ")", 3)
  end
end

-- Errors of native functions are userdata underneath; scripts never see one.
local plain = native.plain

local function seen(failure)
  failure = plain(failure)
  if type(failure) == "table" then
    local text = behind[failure] == nil and failure.err
    if type(text) == "string" or type(text) == "number" then
      return text
    end
  end
  return failure
end

local function resumed(ok, ...)
  if ok then
    return true, ...
  end
  return false, plain((...))
end

globals.pcall = native.protected(pcall, seen)

function globals.xpcall(body, ...)
  if select("#", ...) == 0 then
    error("bad argument #2 to 'xpcall' (value expected)", 2)
  end
  local handler = ...
  return xpcall(body, function(failure)
    -- Nobody could stop the handler of the error that stops the script.
    if native.is_stopped() then
      return plain(failure)
    end
    return handler(plain(failure))
  end)
end

local resume = native.unless_stopped(coroutine.resume)
coroutine.create = native.unless_stopped(coroutine.create)
coroutine.wrap = native.unless_stopped(coroutine.wrap)
function coroutine.resume(...)
  return resumed(resume(...))
end

function globals.getmetatable(value)
  if behind[value] then
    return shown[value]
  end
  return getmetatable(value)
end

function globals.setmetatable(table, metatable)
  if behind[table] then
    error(READONLY, 0)
  end
  expect_table(table, "setmetatable")
  if metatable ~= nil and type(metatable) ~= "table" then
    error("bad argument #2 to 'setmetatable' (nil or table expected)", 2)
  end
  if getmetatable(table) ~= nil and native.is_locked(table) then
    error("cannot change a protected metatable", 2)
  end
  return setmetatable(table, metatable)
end

function globals.rawget(table, key)
  expect_table(table, "rawget")
  return rawget(behind[table] or table, key)
end

function globals.next(table, key)
  expect_table(table, "next")
  return next(behind[table] or table, key)
end

function globals.pairs(table)
  local hidden = behind[table]
  if hidden then
    -- What it stands for must not leave here.
    return function(_, key)
      return next(hidden, key)
    end, table, nil
  end
  expect_table(table, "pairs")
  return next, table, nil
end

globals.rawset = native.writing(rawset, behind)
table.insert = native.inserting(table.insert, behind)
table.remove = native.writing(table.remove, behind)
table.sort = native.writing(table.sort, behind)

-- A script may look at the collector, and let it run, but not stop it for those who come after.
local collectgarbage = collectgarbage
local ALLOWED = { collect = true, count = true, step = true }
-- These change nothing, and answer what they answer at first.
local IGNORED = { stop = 0, restart = 0, setpause = 200, setstepmul = 200 }
function globals.collectgarbage(option, ...)
  if option == nil or ALLOWED[option] then
    return collectgarbage(option or "collect", ...)
  end
  local ignored = IGNORED[option]
  if not ignored then
    local is_text = type(option) == "string" or type(option) == "number"
    local wrong = is_text and "invalid option '" .. option .. "'" or "string expected, got " .. type(option)
    error("bad argument #1 to 'collectgarbage' (" .. wrong .. ")", 2)
  end
  return ignored
end

-- Bytecode is not verified by anybody, so none is ever loaded.
local BYTECODE = 27
local REFUSED = ":1: unexpected symbol near 'char(27)'"
local loadstring, load = loadstring, load

-- A chunk stands alone, its failure behind nil.
local function outcome_of(chunk, failure)
  if chunk then
    return chunk
  end
  return nil, failure
end

-- The parser does not hold on to the name of what it reads. As an argument of a function here it stays.
local function name_of(given, default)
  return match(given or default, "^[^%z]*")
end

function globals.loadstring(text, name)
  if type(text) == "string" and byte(text) == BYTECODE then
    return nil, '[string "' .. match(text, "^[^\r\n]*") .. '"]' .. REFUSED
  end
  if type(text) ~= "string" and type(text) ~= "number" then
    error("bad argument #1 to 'loadstring' (string expected, got " .. type(text) .. ")", 2)
  end
  local held = name_of(name, text)
  return outcome_of(loadstring(text, held))
end

function globals.load(reader, name)
  if type(reader) ~= "function" then
    error("bad argument #1 to 'load' (function expected, got " .. type(reader) .. ")", 2)
  end
  local is_begun, is_refused = false, false
  local held = name_of(name, "=(load)")
  local chunk, failure = load(function()
    local piece = reader()
    if not is_begun and type(piece) == "string" and piece ~= "" then
      is_begun = true
      is_refused = byte(piece) == BYTECODE
    end
    if is_refused then
      return nil
    end
    return piece
  end, held)
  if is_refused then
    return nil, "(load)" .. REFUSED
  end
  return outcome_of(chunk, failure)
end

-- Their own checks are not enough.
globals.unpack = native.unpacking(unpack)
string.rep = native.repeating(string.rep)
string.find = native.bounded(string.find, 4)
for _, name in ipairs({ "match", "gmatch", "gfind", "gsub" }) do
  string[name] = native.bounded(string[name])
end

math.random, math.randomseed = native.random, native.randomseed

for _, name in ipairs({
  "debug", "dofile", "getfenv", "io", "loadfile", "module", "newproxy", "package", "print", "require", "setfenv",
}) do
  globals[name] = nil
end
-- Since Redis 7.2: the time that the process has used, for scripts that measure themselves.
globals.os = { clock = os.clock }

for _, name in ipairs({ "bit", "cjson", "cmsgpack", "coroutine", "math", "os", "string", "struct", "table" }) do
  if globals[name] then
    globals[name] = protect(globals[name])
  end
end
globals.redis = protect(native.redis)

local strings = getmetatable("")
strings.__metatable = protect({ __index = globals.string })

-- The globals themselves. What is missing is an error, not nil, so that a misspelt name is found.
local function missing(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end

local visible = setmetatable(globals, { __index = missing })
local front = {}
behind[front] = visible
shown[front] = protect({ __index = missing })
local guard = { __index = visible, __newindex = refuse, __metatable = false }
setmetatable(front, guard)
globals._G = front

if not is_for_functions then
  globals.__redis__err__handler = native.handler
end

local handler = native.handler

-- While a library is loaded it sees its registration functions and nothing else.
local loading = protect(native.loading_redis)
setmetatable(native.loading_redis, { __index = missing })
local function load_library(body)
  guard.__index = setmetatable({ redis = loading }, { __index = missing })
  local ok, failure = xpcall(body, handler)
  guard.__index = visible
  return ok, failure
end

return front, visible, handler, load_library
