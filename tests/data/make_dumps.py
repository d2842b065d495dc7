#!/usr/bin/env python3
"""Writes dumps.txt beside this script: DUMP payloads of every type and encoding, made by a real redis-server (7.0).

Each line is a name and the payload in hexadecimal digits.

    python3 make_dumps.py PORT    # of a redis-server whose data may be lost
"""

import os, socket, sys

connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
stream = connection.makefile("rb")


def call(*args):
    args = [a if isinstance(a, bytes) else str(a).encode() for a in args]
    connection.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))
    line = stream.readline()
    if line[:1] == b"-":
        raise SystemExit(line.decode())
    if line[:1] == b"$":
        return None if line[1:3] == b"-1" else stream.read(int(line[1:]) + 2)[:-2]
    if line[:1] == b"*":
        raise SystemExit("only simple replies are needed here")
    return line[1:-2]


call("FLUSHALL")
call("SET", "string", "a short text")
call("SET", "string-compressed", "abc" * 200)
call("SET", "string-empty", "")
for name, number in [("int8", -5), ("int16", 1000), ("int32", -70000), ("int64", 2**60)]:
    call("SET", "string-" + name, number)
call("RPUSH", "list", "one", 2, -300, 70000, 2**40, "x" * 70, "")
call("CONFIG", "SET", "list-max-listpack-size", "4")
call("RPUSH", "list-nodes", *range(20), "x" * 100)
call("CONFIG", "SET", "list-max-listpack-size", "-2")
call("RPUSH", "list-plain", "p" * 9000, "q")
call("SADD", "set-intset16", 1, 2, 3, -5)
call("SADD", "set-intset32", 1, 70000)
call("SADD", "set-intset64", 1, 2**40)
call("SADD", "set-table", "a", "b", "", 17, "x" * 70)
call("HSET", "hash-listpack", "f", "v", "n", 12, "", "x" * 40)
call("HSET", "hash-table", "f", "v", "big", "x" * 100, "n", 5)
call("ZADD", "zset-listpack", 1, "a", 1.5, "b", "-inf", "c", 2, "7")
call("ZADD", "zset-skiplist", 1, "a", "inf", "b" * 70, -0.1, "c")
for i in range(1, 9):
    call("XADD", "stream", f"{i}-{i % 3}", "f", i, "g", "v")
call("XADD", "stream", "9-0", "other", "fields")
call("XDEL", "stream", "2-2")
call("XGROUP", "CREATE", "stream", "group", "0")
call("XGROUP", "CREATE", "stream", "idle", "$")
call("XGROUP", "CREATECONSUMER", "stream", "group", "bob")
call("XGROUP", "CREATECONSUMER", "stream", "group", "alice")
call("CONFIG", "SET", "stream-node-max-entries", "3")
for i in range(1, 9):
    call("XADD", "stream-nodes", f"{i}-1", "field", i)
call("PFADD", "hyperloglog-sparse", *range(100))
call("CONFIG", "SET", "hll-sparse-max-bytes", "0")
call("PFADD", "hyperloglog-dense", *range(20))
call("GEOADD", "geo", 13.36, 38.11, "Palermo", 15.08, 37.5, "Catania")
call("SETBIT", "bitmap", 700, 1)

# With entries that are pending, which a read makes; its reply is not needed.
connection.sendall(b"XREADGROUP GROUP group alice COUNT 3 STREAMS stream >\r\nECHO end\r\n")
while stream.readline() != b"end\r\n":
    pass

names = """string string-compressed string-empty string-int8 string-int16 string-int32 string-int64 list list-nodes
list-plain set-intset16 set-intset32 set-intset64 set-table hash-listpack hash-table zset-listpack zset-skiplist
stream stream-nodes hyperloglog-sparse hyperloglog-dense geo bitmap""".split()
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "dumps.txt"), "w") as out:
    for name in names:
        out.write(f"{name} {call('DUMP', name).hex()}\n")
