#!/usr/bin/env python3
"""Runs Redis' own test suite against Russet, file by file, and compares by test name.

    run.py external SUITE BINARY [FILE ...]    tests that only need a server to talk to; a fresh one for each file
    run.py own SUITE BINARY [FILE ...]         the suite starts BINARY itself, with config files, and kills it
    run.py newer SUITE BINARY [FILE ...]       as external, with the suite of Redis 8

What passed once (floor.json) has to pass: if one of these tests does not, the exit status is 1. What real Redis passes
(reference.json) and Russet does not is printed, with the failure unless known-differences.md names the test. Files are
named as the suite names them (unit/type/list); without any, all run but those of which nothing can pass yet.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FLOOR, REFERENCE = (os.path.join(HERE, name) for name in ("floor.json", "reference.json"))
KNOWN_DIFFERENCES = os.path.join(HERE, "known-differences.md")
# Small sets are hash tables in Redis 7.0 and listpacks from 7.2 on: what the tests of 7.0 expect.
FLAGS = ["--set-max-listpack-entries", "0"]
SERVER_FLAGS = ["--save", "", "--enable-debug-command", "yes", "--enable-protected-configs", "yes",
                "--enable-module-command", "yes"]
# Looks for the child process that saves, and spoils the tests behind it where there is none.
SKIPPED = ["SRANDMEMBER with a dict containing long chain"]
# In the suite of 7.0, but not in that of Redis 8: these expect the DEL of 7.0, and leave a blocked client to the tests behind.
SKIPPED_OF_7_0 = ["SWAPDB wants to wake blocked client, but the key already expired",
                  "MULTI + LPUSH + EXPIRE + DEBUG SLEEP on blocked client, key already expired"]
# These do a random number of steps and count them in their tests' names.
COUNTING = ("integration/psync2", "integration/psync2-reg")
ATTEMPTS = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("external", "own", "newer"))
    parser.add_argument("suite", help="where fetch.sh put it")
    parser.add_argument("binary", help="the server")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--port", type=int, default=31900, help="the first port of those that are used")
    parser.add_argument("--ports", type=int, default=1000, help="how many ports are used, at least 45")
    parser.add_argument("--raise-floor", action="store_true", help="add what passed and real Redis passes to floor.json")
    options = parser.parse_intermixed_args()

    # So that whoever ends this program ends the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    floor, reference = read(FLOOR)[options.mode], read(REFERENCE)[options.mode]
    link_binaries(options.suite, options.binary)
    known = known_differences()
    lost, passed, wanted, began = [], 0, 0, time.time()
    for file in options.files or [file for file in sorted(reference) if f"{file}: *" not in known]:
        result = File(options, file).run()
        want = set(reference.get(file, ()))
        have = want & result.names()
        lost += [f"{file}: {name}" for name in floor.get(file, ()) if name not in have]
        passed, wanted = passed + len(have), wanted + len(want)
        print(f"{file:44} {len(have):4} of {len(want):4}   {result.seconds:5.1f} s", flush=True)
        for name in sorted(want - have):
            is_known = f"{file}: {name}" in known or f"{file}: *" in known
            print(f"    known: {name}" if is_known else f"    MISSING: {name}\n        {result.reason(name)}")
        for complaint in result.outside:
            print("    outside of a test: " + shorten(complaint))
        if options.raise_floor:
            raise_floor(options.mode, file, {name for name in have if f"{file}: {name}" not in known})
    print(f"{passed} of the {wanted} tests that real Redis passes, in {time.time() - began:.0f} s")
    for line in lost:
        print("LOST, it passed before: " + line)
    return 1 if lost else 0


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def known_differences():
    """The items of the lists there: `file: test`, or `file: *` for all tests of a file."""
    with open(KNOWN_DIFFERENCES, encoding="utf-8") as text:
        return {line.removeprefix("- ").strip() for line in text if line.startswith("- ")}


def raise_floor(mode, file, have):
    floor = read(FLOOR)
    names = sorted(have.union(floor[mode].get(file, ())))
    if names:
        floor[mode][file] = names
    with open(FLOOR, "w", encoding="utf-8") as out:
        json.dump(floor, out, indent=1, sort_keys=True, ensure_ascii=False)
        out.write("\n")


def shorten(text):
    return " ".join(text.split())[:300]


def link_binaries(suite, binary):
    """What the suite starts lies in its folder `src`: our server, and the real tools."""
    tools = {f"redis-{tool}": shutil.which(f"redis-{tool}") for tool in ("cli", "benchmark", "check-rdb", "check-aof")}
    for name, path in {"redis-server": os.path.abspath(binary), **tools}.items():
        link = os.path.join(suite, "src", name)
        if os.path.lexists(link):
            os.unlink(link)
        if path:
            os.symlink(path, link)


class File:
    """One file of the suite, its runs and what came of them."""

    def __init__(self, options, name):
        self.options, self.name = options, name
        self.passed, self.failed, self.outside, self.seconds = [], {}, [], 0.0

    def run(self):
        """Where a test hangs, the file runs again without it."""
        began, hanging = time.time(), []
        for _ in range(ATTEMPTS):
            hung = self.run_once(hanging)
            if hung is None:
                break
            hanging.append(hung)
        for name in hanging:
            self.failed[name] = "no end"
        self.seconds = time.time() - began
        return self

    def run_once(self, hanging):
        """Returns the name of the test that hung."""
        options = self.options
        self.passed, self.failed, self.outside = [], {}, []
        with tempfile.TemporaryDirectory(prefix="russet-conformance-") as folder:
            server = None
            command = ["tclsh", "tests/test_helper.tcl", "--single", self.name, "--clients", "1",
                       "--baseport", str(options.port + 33), "--portcount", str(options.ports - 33)]
            skipped = SKIPPED + hanging + (SKIPPED_OF_7_0 if options.mode != "newer" else [])
            if options.mode != "own":
                command += ["--host", "127.0.0.1", "--port", str(options.port)]
                server = start_server(options, folder)
            else:
                command += ["--config", *[word.removeprefix("--") for word in FLAGS]]
            skip, events, log = (os.path.join(folder, name) for name in ("skip", "events", "log"))
            with open(skip, "w", encoding="utf-8") as out:
                out.write("\n".join(skipped))
            command += ["--skipfile", skip]
            environment = dict(os.environ, TERM="dumb", OVERLAY=os.path.join(HERE, "overlay.tcl"), OVERLAY_EVENTS=events)
            with open(log, "wb") as out:
                suite = subprocess.Popen(command, cwd=options.suite, env=environment, stdin=subprocess.DEVNULL,
                                         stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                in_time = wait_for_progress(suite, events)
            finally:
                for process in filter(None, (suite, server)):
                    end(process)
            running, done = self.digest(events)
            if in_time and not done:
                with open(log, encoding="utf-8", errors="replace") as text:
                    self.outside.append("the suite ended early: " + text.read()[-600:])
            return running if not in_time else None

    def digest(self, events):
        """Sorts a run's events. Returns the test that was running at the end, and whether the file came to its end."""
        running, done = [], False
        for kind, text in read_events(events):
            if kind == "testing":
                running.append(text)
            elif kind == "ok":
                running = running[: running.index(text)] if text in running else running
                self.passed.append(text)
            elif kind == "err":
                name = next((name for name in reversed(running) if text.startswith(name + " in tests/")), None)
                if name is None:
                    self.outside.append(text)
                else:
                    running = running[: running.index(name)]
                    self.failed[name] = text.partition("\n")[2]
            elif kind == "outside" or kind == "exception" and not done:
                self.outside.append(text)
            elif kind == "done":
                done = True
        for name in running:
            self.failed[name] = "did not end"
        return (running[-1] if running else None), done

    def names(self):
        """The tests that passed; the second of one name is `name #2`."""
        if self.name in COUNTING:
            return {kind(name) for name in self.passed} - {kind(name) for name in self.failed}
        seen, names = {}, set()
        for name in self.passed:
            seen[name] = seen.get(name, 0) + 1
            names.add(name if seen[name] == 1 else f"{name} #{seen[name]}")
        return names

    def reason(self, name):
        bare = re.sub(r" #\d+$", "", name)
        return shorten(self.failed.get(name) or self.failed.get(bare) or "did not run")


def kind(name):
    return re.sub(r"\d+", "N", name)


def read_events(path):
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8", errors="replace", newline="\n") as lines:
        for line in lines:
            name, _, text = line.rstrip("\n").partition("\t")
            yield name, re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), text)


def start_server(options, folder):
    flags = SERVER_FLAGS + (FLAGS if options.mode == "external" else [])
    words = [os.path.abspath(options.binary), "--port", str(options.port), "--dir", folder, *flags]
    with open(os.path.join(folder, "server.log"), "wb") as out:
        server = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                  start_new_session=True)
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", options.port), timeout=1).close()
            return server
        except OSError:
            time.sleep(0.1)
    end(server)
    raise SystemExit(f"the server does not answer on port {options.port}")


STALL_SECONDS = 120
FILE_SECONDS = 900


def wait_for_progress(process, events):
    """Whether the process ended by itself: it has two minutes from one event to the next."""
    began = moved = time.time()
    size = 0
    while process.poll() is None:
        time.sleep(0.1)
        now = os.path.getsize(events) if os.path.exists(events) else 0
        if now != size:
            size, moved = now, time.time()
        if time.time() - moved > STALL_SECONDS or time.time() - began > FILE_SECONDS:
            return False
    return True


def end(process):
    """Ends a process with all that it has started: the group is its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
