"""Writes through redis-py's Sentinel client: for each line of the standard input it sets the key `line` to it, however
often that has to be tried, and prints the port of the master that took it.

    sentinel.py SENTINEL_PORT [SENTINEL_PORT ...]
"""

import sys
import time

import redis
from redis.sentinel import Sentinel

PATIENCE_SECONDS = 20

sentinel = Sentinel([("127.0.0.1", int(port)) for port in sys.argv[1:]], socket_timeout=1)
master = sentinel.master_for("group", socket_timeout=1)
for line in sys.stdin:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            master.set("line", line.strip())
            print(master.info("server")["tcp_port"], flush=True)
            break
        except redis.RedisError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
