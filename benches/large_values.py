#!/usr/bin/env python3
"""Whether anything large makes other clients wait: one client works on values of --elements elements (default 1,000,000),
or on that many keys, while a probe on a connection of its own sends PING and GET in turn, every 0.2 ms or so.

    large_values.py --server 'target/release/russet --port {port} --dir {dir}' \
                    --server 'redis-server --port {port} --dir {dir} --save "" --appendonly no' [options]

For each step of each server:
  probe p99.9, max   what the probe has seen, in milliseconds: what the scheduler adds is in it, so a busy machine shows
  slowest            the longest request by the server's own clock (SLOWLOG): the time that it kept all others waiting
  step               how long the step took the client that caused it, in seconds

--suites chooses among hash, set, zset, list, stream, string, keys; --steps does, besides growing, only those whose name contains
one of the words. Growing is done by --clients connections, each with pipelines of commands of --few elements.
"""
import argparse, multiprocessing, os, shlex, shutil, socket, subprocess, sys, tempfile, time

GROW = 100       # elements in one variadic command
PIPELINE = 16    # commands in one write


def encode(args):
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        arg = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)


class Client:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=900)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, *args):
        """One request; answers the first bytes of the reply, and reads all of it: an ECHO behind it marks the end."""
        mark = b"$16\r\n--end-of-reply--\r\n"
        self.sock.sendall(encode(args) + encode(("ECHO", "--end-of-reply--")))
        first, tail, got = b"", b"", 0
        while True:
            data = self.sock.recv(1 << 20)
            if not data:
                raise OSError("connection closed")
            got += len(data)
            first = first or data[:200]
            tail = (tail + data)[-len(mark):]
            if tail == mark:
                break
        if first.startswith(b"-"):
            sys.exit(f"{args[:3]}: {first!r}")
        self.reply_bytes = got - len(mark)
        return first

    def pipeline(self, requests, count):
        """Requests whose replies are one line each, or two."""
        self.sock.sendall(requests)
        self.read_lines(count)

    def read_lines(self, count):
        seen = 0
        while seen < count:
            data = self.sock.recv(1 << 16)
            if not data or data.startswith(b"-"):
                sys.exit(f"pipeline failed: {data[:200]!r}")
            seen += data.count(b"\n")


def probe(port, go, stop, results):
    """Measures until told to stop, again and again."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=900)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    requests = [encode(("PING",)), encode(("GET", "probe"))]
    while True:
        go.wait()
        times, turn = [], 0
        while not stop.is_set():
            start = time.perf_counter()
            sock.sendall(requests[turn & 1])
            sock.recv(4096)
            times.append(time.perf_counter() - start)
            turn += 1
            time.sleep(0.0002)
        times.sort()
        results.put((len(times), times[min(len(times) - 1, int(len(times) * 0.999))], times[-1]))
        go.clear()
        stop.clear()


class Bench:
    def __init__(self, template, options):
        self.name = os.path.basename(shlex.split(template)[0])
        self.options, self.n = options, options.elements
        self.dir = tempfile.mkdtemp(prefix="large-values-")
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = options.port or sock.getsockname()[1]
        log = open(os.path.join(self.dir, "log"), "ab")
        command = template.format(port=self.port, dir=self.dir)
        self.process = subprocess.Popen(shlex.split(command), stdout=log, stderr=log)
        for _ in range(500):
            try:
                self.client = Client(self.port)
                break
            except OSError:
                time.sleep(0.02)
        else:
            sys.exit(f"{self.name} does not answer")
        self.call = self.client.call
        self.call("CONFIG", "SET", "slowlog-log-slower-than", 100, "slowlog-max-len", 5000)
        self.call("SET", "probe", "x")
        self.go, self.stop = multiprocessing.Event(), multiprocessing.Event()
        self.results = multiprocessing.Queue()
        child = (self.port, self.go, self.stop, self.results)
        self.probe = multiprocessing.Process(target=probe, args=child, daemon=True)
        self.probe.start()

    def end(self):
        self.probe.terminate()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def slowest_ms(self):
        """The longest request since SLOWLOG RESET."""
        sock = self.client.sock
        sock.sendall(encode(("SLOWLOG", "GET", "-1")) + encode(("ECHO", "--end-of-reply--")))
        data = b""
        while not data.endswith(b"--end-of-reply--\r\n"):
            data += sock.recv(1 << 20)
        lines, longest = data.split(b"\r\n"), 0
        for at, line in enumerate(lines[:-3]):
            # An entry is an array of six: a number, a time, a duration.
            if line == b"*6" and lines[at + 1][:1] == b":":
                longest = max(longest, int(lines[at + 3][1:]))
        return longest / 1000

    def is_wanted(self, name):
        return any(word in name for word in self.options.steps.split(","))

    def step(self, name, work):
        # Twice: forgetting thousands of long requests is a slow one itself.
        self.call("SLOWLOG", "RESET")
        self.call("SLOWLOG", "RESET")
        self.go.set()
        time.sleep(0.05)
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        time.sleep(0.15)
        self.stop.set()
        count, p999, longest = self.results.get()
        while self.go.is_set():
            time.sleep(0.001)
        if self.is_wanted(name):
            print(f"{self.name:>16} {name:<24} probe p99.9 {p999 * 1000:9.2f}  max {longest * 1000:9.2f}   "
                  f"slowest {self.slowest_ms():9.2f}   step {seconds:7.2f}   ({count} probes)", flush=True)

    def many(self, make, total=None, per_command=GROW, clients=None, lines=1):
        """`make(first, last)` is one command; all of them together cover 0..total. Replies have so many lines."""
        total = total or self.n
        clients = clients or [self.client]
        under_way = []
        for number, first in enumerate(range(0, total, per_command * PIPELINE)):
            last = min(first + per_command * PIPELINE, total)
            firsts = range(first, last, per_command)
            if len(under_way) == len(clients):
                client, count = under_way.pop(0)
                client.read_lines(count)
            client = clients[number % len(clients)]
            client.sock.sendall(b"".join(encode(make(at, min(at + per_command, last))) for at in firsts))
            under_way.append((client, len(firsts) * lines))
        for client, count in under_way:
            client.read_lines(count)

    GROWTHS = {
        "hash": lambda a, b: ["HSET", "big"] + [x for i in range(a, b) for x in (b"field:%d" % i, b"%d" % i)],
        "set": lambda a, b: ["SADD", "big"] + [b"member:%d" % i for i in range(a, b)],
        "zset": lambda a, b: ["ZADD", "big"] + [x for i in range(a, b) for x in (b"%d" % i, b"member:%d" % i)],
        "list": lambda a, b: ["RPUSH", "big"] + [b"%d" % i for i in range(a, b)],
    }
    READS = {
        "hash": [("HGETALL", "big"), ("HKEYS", "big"), ("HSCAN", "big", "0", "COUNT", "100000000")],
        "set": [("SMEMBERS", "big"), ("SUNION", "big", "none"), ("SORT", "big", "ALPHA", "LIMIT", "0", "10")],
        "zset": [("ZRANGE", "big", "0", "-1", "WITHSCORES"), ("ZREVRANGE", "big", "0", "-1"),
                 ("ZRANGEBYSCORE", "big", "-inf", "+inf"), ("ZRANGEBYLEX", "big", "-", "+"),
                 ("ZRANDMEMBER", "big", "100000")],
        "list": [("LRANGE", "big", "0", "-1"), ("SORT", "big", "LIMIT", "0", "10"), ("LPOS", "big", "none")],
        "stream": [("XRANGE", "big", "-", "+"), ("XREVRANGE", "big", "+", "-"), ("XREAD", "STREAMS", "big", "0")],
        "string": [("GET", "big"), ("GETRANGE", "big", "1", "-2")],
    }
    READS["hash"].append(("HRANDFIELD", "big", "100000"))
    READS["set"].append(("SRANDMEMBER", "big", "100000"))
    # These change keys by all that a value has, and stay where they are.
    STORES = {
        "set": [("SUNIONSTORE", "copy", "big"), ("COPY", "big", "copy", "REPLACE")],
        "zset": [("ZRANGESTORE", "copy", "big", "0", "-1"), ("ZUNIONSTORE", "copy", "1", "big"),
                 ("COPY", "big", "copy", "REPLACE")],
        "list": [("SORT", "big", "BY", "nosort", "STORE", "copy"), ("LREM", "big", "0", "none"),
                 ("COPY", "big", "copy", "REPLACE")],
        "stream": [("COPY", "big", "copy", "REPLACE")],
        "hash": [("COPY", "big", "copy", "REPLACE")],
        "string": [("BITOP", "NOT", "copy", "big"), ("COPY", "big", "copy", "REPLACE")],
    }

    def value(self, kind):
        self.kind = kind
        self.step(f"{kind} grow", lambda: self.grow(kind, True))
        self.step(f"{kind} idle", lambda: time.sleep(1))
        for verb, requests in (("read", self.READS), ("inline", self.STORES)):
            for request in requests.get(kind, []):
                if self.is_wanted(f"{kind} {verb} {request[0]}"):
                    self.step(f"{kind} {verb} {request[0]}", lambda: self.call(*request))
        self.call("DEL", "copy")
        shrinks = {
            "hash": lambda: self.many(lambda a, b: ["HDEL", "big"] + [b"field:%d" % i for i in range(a, b)], self.n - 10),
            "set": lambda: self.many(lambda a, b: ["SREM", "big"] + [b"member:%d" % i for i in range(a, b)], self.n - 10),
            "zset": lambda: self.many(lambda a, b: ["ZREM", "big"] + [b"member:%d" % i for i in range(a, b)], self.n - 10),
            "list": lambda: self.many(lambda a, b: ["LTRIM", "big", b - a, -1], self.n - 10),
            "stream": lambda: self.many(lambda a, b: ["XTRIM", "big", "MAXLEN", self.n - b], self.n - 10),
        }
        if kind in shrinks and self.is_wanted(f"{kind} shrink"):
            self.step(f"{kind} shrink", shrinks[kind])
        self.call("DEL", "big")
        for name, before, requests in self.endings(kind):
            if self.is_wanted(f"{kind} {name}"):
                self.grow(kind)
                for request in before:
                    self.call(*request)
                self.step(f"{kind} {name}", lambda: [self.call(*request) for request in requests])
                self.call("DEL", "big")

    def endings(self, kind):
        yield "DEL", [], [("DEL", "big")]
        yield "UNLINK", [], [("UNLINK", "big")]
        if self.options.brief:
            return
        yield "SET over", [], [("SET", "big", "x")]
        yield "RENAME over", [], [("SET", "small", "x"), ("RENAME", "small", "big")]
        yield "EXPIRE", [], [("PEXPIRE", "big", "1")]
        few, half, most = 10, self.n // 2, self.n - 10
        far = str(self.n * 60)
        removals = {
            "set": [("SPOP", "big", most), ("SPOP", "big", self.n), ("SPOP", "big", half)],
            "zset": [("ZREMRANGEBYRANK", "big", 0, most), ("ZREMRANGEBYRANK", "big", few, half),
                     ("ZREMRANGEBYSCORE", "big", half, "+inf"), ("ZREMRANGEBYLEX", "big", "-", "+"),
                     ("ZPOPMIN", "big", half)],
            "list": [("LTRIM", "big", 0, few), ("LTRIM", "big", half, -1), ("LPOP", "big", half)],
            "stream": [("XTRIM", "big", "MAXLEN", few), ("XTRIM", "big", "MAXLEN", half), ("XDEL", "big", "1-1")],
            "string": [("SETRANGE", "big", far, "x"), ("SETBIT", "big", self.n * 480, "1"), ("APPEND", "big", "x"),
                       ("SET", "big", b"x" * (self.n * 50))],
        }
        for removal in removals.get(kind, []):
            yield " ".join(str(arg)[:12] for arg in removal if arg != "big"), [], [removal]
        if kind == "stream":
            group = [("XGROUP", "CREATE", "big", "g", "0"), ("XREADGROUP", "GROUP", "g", "c", "STREAMS", "big", ">")]
            yield "XGROUP DESTROY", group, [("XGROUP", "DESTROY", "big", "g")]
        yield "FLUSHALL", [], [("FLUSHALL",), ("SET", "probe", "x")]

    def grow(self, kind, is_measured=False):
        few, clients = GROW, [self.client]
        if is_measured:
            few, clients = self.options.few, [Client(self.port) for _ in range(self.options.clients)]
        if kind == "stream":
            self.many(lambda a, b: ["XADD", "big", "*", "f", a], per_command=1, clients=clients, lines=2)
        elif kind == "string":
            chunk = b"x" * 10_000
            self.many(lambda a, b: ["APPEND", "big", chunk], total=self.n * 50, per_command=10_000, clients=clients)
        else:
            self.many(self.GROWTHS[kind], per_command=few, clients=clients)

    def keys(self):
        def grow():
            self.many(lambda a, b: ["MSET"] + [x for i in range(a, b) for x in (b"key:%d" % i, b"%d" % i)])
        self.step("keys grow", grow)
        self.step("keys idle", lambda: time.sleep(2))
        for read in [("KEYS", "*"), ("KEYS", "nothing*"), ("DEBUG", "DIGEST"), ("SCAN", "0", "COUNT", "100000000")]:
            self.step(f"keys read {' '.join(read[:2])}", lambda: self.call(*read))
        self.step("keys FLUSHALL", lambda: (self.call("FLUSHALL"), self.call("SET", "probe", "x")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="append", required=True)
    parser.add_argument("--elements", type=int, default=1_000_000)
    parser.add_argument("--suites", default="hash,set,zset,list,stream,string,keys")
    parser.add_argument("--steps", default="")
    parser.add_argument("--brief", action="store_true", help="of the ways to remove a value, DEL and UNLINK alone")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--few", type=int, default=10, help="elements in one command while growing is measured")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    print(f"{options.elements} elements; milliseconds but for the step, which is in seconds")
    for template in options.server:
        bench = Bench(template, options)
        try:
            for suite in options.suites.split(","):
                bench.keys() if suite == "keys" else bench.value(suite)
        finally:
            bench.end()


if __name__ == "__main__":
    main()
