#!/usr/bin/env python3
"""A master and replicas on hosts of their own, with links that are cut, delayed and shaped. Needs root, `ip` and `tc`.

    run.py BINARY [--redis-replica] [--seconds N]

Each server runs in a network namespace; a bridge in the first one joins them. `tc` shapes what goes to a host; what is
delayed or lost is so on the wire between the host and the bridge, which is a process here, so that no kernel needs netem.
While a client writes, one scene after the other disturbs the links. After each the replicas' data must equal the master's;
what INFO counts of full and partial resyncs is printed, and compared with what the scene allows. The exit status is 1 if
anything is otherwise.
"""

import argparse
import fcntl
import heapq
import multiprocessing
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

PORT = 6379
PATIENCE_SECONDS = 60
PREFIX = f"russet{os.getpid() % 10000}"


def sh(*words, check=True):
    return subprocess.run(words, check=check, capture_output=True, text=True).stdout


def tap(name):
    """A network device whose frames are read from and written to the returned file."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    set_interface, is_tap, without_header = 0x400454CA, 0x0002, 0x1000
    fcntl.ioctl(file, set_interface, struct.pack("16sH14x", name.encode(), is_tap | without_header))
    return file


class Wire(multiprocessing.Process):
    """Carries frames between two devices, each in its own time, or not at all."""

    def __init__(self, *names):
        super().__init__(daemon=True)
        self.ends = [tap(name) for name in names]
        self.delay_seconds, self.jitter_seconds, self.lost_share = (multiprocessing.Value("d", 0) for _ in range(3))

    def disturb(self, delay_seconds=0.0, jitter_seconds=0.0, lost_share=0.0):
        self.delay_seconds.value, self.jitter_seconds.value = delay_seconds, jitter_seconds
        self.lost_share.value = lost_share

    def run(self):
        first, second = self.ends
        across, under_way, number = {first: second, second: first}, [], 0
        while True:
            wait = max(0, under_way[0][0] - time.monotonic()) if under_way else 1
            for end in select.select(self.ends, [], [], wait)[0]:
                frame = os.read(end, 1 << 16)
                if random.random() >= self.lost_share.value:
                    jitter = random.uniform(-1, 1) * self.jitter_seconds.value
                    due = time.monotonic() + self.delay_seconds.value + jitter
                    heapq.heappush(under_way, (due, number, across[end], frame))
                    number += 1
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, end, frame = heapq.heappop(under_way)
                try:
                    os.write(end, frame)
                except OSError:
                    pass  # that end is down: its frames are lost


class Host:
    """A namespace with one server in it."""

    def __init__(self, number, binary, *flags):
        self.name, self.address = f"{PREFIX}n{number}", f"10.77.0.{number}"
        self.outer, inner = (f"r{side}{os.getpid() % 10000}x{number}" for side in "oi")
        sh("ip", "netns", "add", self.name)
        self.wire = Wire(self.outer, inner)
        sh("ip", "link", "set", inner, "netns", self.name)
        sh("ip", "link", "set", self.outer, "master", BRIDGE, "up")
        self.inside("ip", "addr", "add", f"{self.address}/24", "dev", inner)
        self.inside("ip", "link", "set", inner, "up")
        self.wire.start()
        self.inside("ip", "link", "set", "lo", "up")
        self.folder = tempfile.mkdtemp(prefix="russet-network-")
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, binary, "--port", str(PORT), "--bind", self.address, "--dir", self.folder,
                 "--save", "", "--enable-debug-command", "yes", "--protected-mode", "no", *flags],
                stdout=log, stderr=log)
        self.until("it answers", lambda: self.call("PING") == b"PONG")

    def inside(self, *words):
        return sh("ip", "netns", "exec", self.name, *words)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.wire.kill()
        self.wire.join()
        sh("ip", "netns", "del", self.name, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *words):
        return Client(self.address).call(*words)

    def info(self, field):
        for line in self.call("INFO").decode().splitlines():
            if line.startswith(field + ":"):
                return line.partition(":")[2]
        return ""

    def until(self, what, probe):
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                if probe():
                    return
            except OSError:
                pass
            if time.monotonic() > give_up:
                raise SystemExit(f"{self.address}: in {PATIENCE_SECONDS} s it did not come about: {what}")
            time.sleep(0.05)

    def shape(self, *how):
        """What `tc` does to all that goes to this host; nothing: no disturbance."""
        sh("tc", "qdisc", "del", "dev", self.outer, "root", check=False)
        if how:
            sh("tc", "qdisc", "add", "dev", self.outer, "root", *how)

    def cut(self):
        sh("ip", "link", "set", self.outer, "down")

    def mend(self):
        sh("ip", "link", "set", self.outer, "up")


class Client:
    def __init__(self, address):
        self.socket = socket.create_connection((address, PORT), timeout=10)
        self.file = self.socket.makefile("rb")

    def call(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        line = self.file.readline().rstrip()
        if line[:1] == b"-":
            raise OSError(line.decode())
        if line[:1] == b"$":
            return self.file.read(int(line[1:]) + 2)[:-2]
        return line[1:]


class Writer(threading.Thread):
    """Writes as long as it is let."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.client, self.is_stopped, self.writes = Client(host.address), False, 0

    def run(self):
        while not self.is_stopped:
            self.client.call("SET", f"key:{self.writes % 5000}", str(self.writes) * 20)
            self.writes += 1
            time.sleep(0.0005)


def syncs(master):
    return [int(master.info(field)) for field in ("sync_full", "sync_partial_ok", "sync_partial_err")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--redis-replica", action="store_true", help="the second replica is the real redis-server")
    parser.add_argument("--seconds", type=float, default=4, help="how long a disturbance lasts")
    options = parser.parse_args()
    timing = ("--repl-timeout", "2", "--repl-ping-replica-period", "1", "--repl-diskless-sync-delay", "0")
    second = "redis-server" if options.redis_replica else options.binary
    hosts, wrong = [], []
    sh("ip", "link", "add", BRIDGE, "type", "bridge")
    try:
        sh("ip", "addr", "add", "10.77.0.254/24", "dev", BRIDGE)
        sh("ip", "link", "set", BRIDGE, "up")
        binary = os.path.abspath(options.binary)
        hosts.append(Host(1, binary, *timing, "--repl-backlog-size", "8mb"))
        hosts.append(Host(2, binary, *timing))
        hosts.append(Host(3, second if options.redis_replica else binary, *timing))
        master, replicas = hosts[0], hosts[1:]
        for replica in replicas:
            replica.call("REPLICAOF", master.address, PORT)
            replica.until("its link is up", lambda: replica.info("master_link_status") == "up")

        def scene(name, disturb, heal, allows):
            """`allows` is told by how much full and partial resyncs grew."""
            before, writer = syncs(master), Writer(master)
            writer.start()
            disturb()
            time.sleep(options.seconds)
            heal()
            time.sleep(0.5)
            writer.is_stopped = True
            writer.join()
            for replica in replicas:
                replica.until("its link is up", lambda: replica.info("master_link_status") == "up")
                replica.until("it has the master's data",
                              lambda: replica.call("DEBUG", "DIGEST") == master.call("DEBUG", "DIGEST"))
            full, partial, refused = (now - then for now, then in zip(syncs(master), before))
            is_right = allows(full, partial)
            print(f"{name:50} {writer.writes:6} writes  full {full}  partial {partial}  refused {refused}"
                  f"  {'as it should be' if is_right else 'WRONG'}", flush=True)
            if not is_right:
                wrong.append(name)

        first, all_of_them = replicas[0], replicas
        scene("nothing", lambda: None, lambda: None, lambda full, partial: full == partial == 0)
        scene("100 ms +- 30 ms of delay to and from the replicas",
              lambda: [it.wire.disturb(delay_seconds=0.1, jitter_seconds=0.03) for it in all_of_them],
              lambda: [it.wire.disturb() for it in all_of_them], lambda full, partial: full == partial == 0)
        scene("5 % of the packets lost",
              lambda: [it.wire.disturb(lost_share=0.05) for it in all_of_them],
              lambda: [it.wire.disturb() for it in all_of_them], lambda full, _: full == 0)
        scene("one link cut for longer than repl-timeout", first.cut, first.mend,
              lambda full, partial: full == 0 and partial >= 1)
        scene("all links cut", lambda: [it.cut() for it in all_of_them], lambda: [it.mend() for it in all_of_them],
              lambda full, partial: full == 0 and partial >= 2)
        scene("one link at 256 kbit/s", lambda: first.shape("tbf", "rate", "256kbit", "burst", "16kb", "latency", "400ms"),
              first.shape, lambda full, _: full == 0)
        scene("one link at 1 Mbit/s that drops what is too much",
              lambda: first.shape("tbf", "rate", "1mbit", "burst", "4kb", "limit", "6kb"), first.shape,
              lambda full, _: full == 0)
        master.call("CONFIG", "SET", "repl-backlog-size", 16384)
        scene("one link cut, with a backlog that is too short", first.cut, first.mend,
              lambda full, _: full >= 1)
        master.call("CONFIG", "SET", "repl-backlog-size", 8 << 20)
        replicas[1].call("REPLICAOF", first.address, PORT)
        replicas[1].until("its link is up", lambda: replicas[1].info("master_link_status") == "up")
        scene("a chain, cut before its first link", first.cut, first.mend, lambda full, partial: full == 0 and partial >= 1)
    finally:
        for host in hosts:
            host.close()
        sh("ip", "link", "del", BRIDGE, check=False)
    return 1 if wrong else 0


BRIDGE = f"rb{os.getpid() % 100000}"

if __name__ == "__main__":
    sys.exit(main())
