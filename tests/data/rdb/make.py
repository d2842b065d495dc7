#!/usr/bin/env python3
"""Makes the RDB files of this directory.

The new ones are saved by a real redis-server (7.0), the old ones are put together byte by byte, and redis-server
has to load those and to agree on what they hold.

    python3 make.py [directory]
"""

import os, socket, struct, subprocess, sys, tempfile, time

PORT = 17991
OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))


class Server:
    def __init__(self, rdb=None, *options):
        self.dir = tempfile.mkdtemp(prefix="rdb-make-")
        if rdb is not None:
            open(os.path.join(self.dir, "dump.rdb"), "wb").write(rdb)
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(PORT), "--enable-debug-command", "yes", "--save", "", "--dir", self.dir, *options],
            stdout=subprocess.PIPE)
        for _ in range(200):
            try:
                self.socket = socket.create_connection(("127.0.0.1", PORT))
                break
            except OSError:
                time.sleep(0.02)
        else:
            raise SystemExit(self.process.stdout.read().decode())
        self.file = self.socket.makefile("rb")
        while True:
            self.socket.sendall(b"PING\r\n")
            if self.file.readline() == b"+PONG\r\n":
                break
            time.sleep(0.02)

    def __call__(self, *args):
        args = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        self.socket.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise SystemExit(rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return rest if kind == b"+" else int(rest)

    def save(self):
        self("SAVE")
        return open(os.path.join(self.dir, "dump.rdb"), "rb").read()

    def stop(self):
        self.process.kill()
        self.process.wait()


def write(name, data):
    open(os.path.join(OUT, name), "wb").write(data)
    print(name, len(data))


def strings():
    r = Server()
    for name, value in [("empty", ""), ("int8", -5), ("int16", 12345), ("int32", -2000000000),
                        ("int64", 9223372036854775807), ("zeros", "007"), ("text", "hello"),
                        ("binary", bytes(range(256))), ("lzf", "compressible " * 40), (1234567, "integer key"),
                        ("fourteen", bytes(range(33, 100)) + bytes(range(100, 133)))]:
        r("SET", name, value)
    write("strings.rdb", r.save())
    r.stop()


def collections():
    r = Server()
    r("RPUSH", "list:small", "a", 1, -1, 300, -40000, 8000000, 2000000000, 9000000000, "b" * 70)
    r("CONFIG", "SET", "list-max-listpack-size", 2)
    r("RPUSH", "list:nodes", *range(7))
    r("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "20b")
    r("RPUSH", "list:plain", "small", "x" * 30, "small too")
    r("DEBUG", "QUICKLIST-PACKED-THRESHOLD", 0)
    r("SADD", "set:int16", 3, 1, 2)
    r("SADD", "set:int32", 70000, -1)
    r("SADD", "set:int64", 5000000000, -5)
    r("SADD", "set:hashtable", "x", "y", 10)
    r("HSET", "hash:listpack", "field", "value", "n", 42)
    r("CONFIG", "SET", "hash-max-listpack-entries", 2)
    r("HSET", "hash:hashtable", "a", 1, "b", 2, "c", "three")
    r("ZADD", "zset:listpack", 1, "one", 2.5, "two and a half", "-inf", "low", "1e300", "far")
    r("CONFIG", "SET", "zset-max-listpack-entries", 2)
    r("ZADD", "zset:skiplist", 1, "one", 0.1, "tenth", "inf", "high")
    write("collections.rdb", r.save())
    r.stop()


def databases():
    r = Server(None, "--maxmemory-policy", "allkeys-lfu")
    r("SET", "plain", 0)
    r("SET", "later", 1, "PXAT", 4102444800123)
    r("SELECT", 3)
    r("RPUSH", "list", "x")
    r("PEXPIREAT", "list", 4102444800000)
    r("SELECT", 15)
    r("SET", "last", "db")
    r("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)")
    write("databases_lfu.rdb", r.save())
    r.stop()
    r = Server(None, "--maxmemory-policy", "allkeys-lru")
    r("SET", "key", "value")
    write("lru.rdb", r.save())
    r.stop()
    r = Server(None, "--rdbchecksum", "no")
    r("SET", "key", "value")
    write("no_checksum.rdb", r.save())
    r.stop()
    r = Server(None, "--stream-node-max-entries", "3")
    r("XADD", "stream", "1-1", "field", "value")
    r("XADD", "stream", "1-2", "field", 70000)
    r("XADD", "stream", "2-0", "other", "x", "field", -5)
    r("XADD", "stream", "300-0", "field", "value")
    r("XADD", "stream", "300-1", "field", "last")
    r("XDEL", "stream", "1-2")
    r("XGROUP", "CREATE", "stream", "group", "0")
    r("XREADGROUP", "GROUP", "group", "alice", "COUNT", 2, "STREAMS", "stream", ">")
    r("XCLAIM", "stream", "group", "bob", 0, "2-0", "TIME", 1526569498055, "RETRYCOUNT", 7)
    r("XCLAIM", "stream", "group", "alice", 0, "1-1", "TIME", 1526569498056)
    r("XGROUP", "CREATE", "stream", "idle", "$")
    r("XGROUP", "CREATE", "nothing", "group", "5-5", "MKSTREAM", "ENTRIESREAD", 3)
    write("stream.rdb", r.save())
    r.stop()


def crc64(data):
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
    return crc


def string(data):
    data = data if isinstance(data, bytes) else data.encode()
    assert len(data) < 16384
    return (bytes([len(data)]) if len(data) < 64 else struct.pack(">H", 0x4000 | len(data))) + data


def ziplist(*elements):
    body, tail, previous = b"", 10, 0
    for element in elements:
        start = tail = 10 + len(body)
        body += bytes([previous]) if previous < 254 else b"\xfe" + struct.pack("<I", previous)
        if isinstance(element, str):
            data = element.encode()
            body += (bytes([len(data)]) if len(data) < 64 else struct.pack(">H", 0x4000 | len(data))) + data
        elif 0 <= element <= 12:
            body += bytes([0xf1 + element])
        elif -128 <= element < 128:
            body += b"\xfe" + struct.pack("<b", element)
        elif -32768 <= element < 32768:
            body += b"\xc0" + struct.pack("<h", element)
        elif -(1 << 23) <= element < 1 << 23:
            body += b"\xf0" + struct.pack("<i", element)[:3]
        elif -(1 << 31) <= element < 1 << 31:
            body += b"\xd0" + struct.pack("<i", element)
        else:
            body += b"\xe0" + struct.pack("<q", element)
        previous = 10 + len(body) - start
    return struct.pack("<IIH", 11 + len(body), tail, len(elements)) + body + b"\xff"


def key(kind, name, *rest):
    return bytes([kind]) + string(name) + b"".join(rest)


def old():
    version_1 = b"REDIS0001\xfe\x00" + b"".join([
        b"\xfd" + struct.pack("<i", 2000000000), key(0, "string", string("value")),
        key(1, "list", b"\x03", string("a"), b"\xc0\x07", string("c")),
        key(2, "set", b"\x02", string("x"), string("y")),
        key(3, "zset", b"\x04", string("one"), b"\x011", string("half"), b"\x030.5",
            string("high"), b"\xfe", string("low"), b"\xff"),
        key(4, "hash", b"\x01", string("f"), string("v")),
    ]) + b"\xff"
    zipmap = b"\x02\x01f\x02\x03vv...\x05field\x05\x00value\xff"
    version_6 = b"REDIS0006\xfe\x02" + b"".join([
        key(9, "zipmap", string(zipmap)),
        key(10, "list", string(ziplist("a", 0, 12, 13, -129, 40000, 1 << 30, -(1 << 40), "b" * 300, "end"))),
        key(11, "intset", string(struct.pack("<IIhhh", 2, 3, -1, 0, 1))),
        key(12, "zset", string(ziplist("one", 1, "half", "0.5", "minus", -3))),
        b"\xfc" + struct.pack("<q", 4102444800000),
        key(13, "hash", string(ziplist("f", "v", "n", 1000))),
        key(14, "quicklist", b"\x03", string(ziplist("a", "b")), string(ziplist()), string(ziplist(3))),
    ]) + b"\xff"
    version_6 += struct.pack("<Q", crc64(version_6))
    empty = b"REDIS0010\xfe\x00\xfb\x06\x01" + b"".join([
        key(1, "list", b"\x00"), key(2, "set", b"\x00"), b"\xfc" + struct.pack("<q", 4102444800000),
        key(4, "hash", b"\x00"), key(5, "zset", b"\x00"), key(18, "quicklist", b"\x00"),
        key(0, "string", b"\x00"),
    ]) + b"\xff" + bytes(8)
    for name, data, digest_of in [
        ("version_1.rdb", version_1, [
            ("SET", "string", "value", "EXAT", 2000000000), ("RPUSH", "list", "a", 7, "c"),
            ("SADD", "set", "x", "y"), ("ZADD", "zset", 1, "one", 0.5, "half", "inf", "high", "-inf", "low"),
            ("HSET", "hash", "f", "v")]),
        ("version_6.rdb", version_6, [
            ("SELECT", 2), ("HSET", "zipmap", "f", "vv", "field", "value"),
            ("RPUSH", "list", "a", 0, 12, 13, -129, 40000, 1 << 30, -(1 << 40), "b" * 300, "end"),
            ("SADD", "intset", -1, 0, 1), ("ZADD", "zset", 1, "one", 0.5, "half", -3, "minus"),
            ("HSET", "hash", "f", "v", "n", 1000), ("PEXPIREAT", "hash", 4102444800000),
            ("RPUSH", "quicklist", "a", "b", 3)]),
        ("empty_keys.rdb", empty, [("SET", "string", "")]),
    ]:
        r = Server(data)
        loaded = r("DEBUG", "DIGEST")
        r("FLUSHALL")
        for command in digest_of:
            r(*command)
        assert r("DEBUG", "DIGEST") == loaded, name
        r.stop()
        write(name, data)


strings()
collections()
databases()
old()
