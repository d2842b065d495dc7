"""Runs checks one after the other, each on an empty server, and says how they went."""
import sys

import redis


def run(port, checks):
    failed = 0
    for check in checks:
        redis.Redis(port=port).flushall()
        try:
            check()
            print(f"ok      {check.__name__}", flush=True)
        except Exception as error:  # each is to be heard of
            failed += 1
            print(f"FAILED  {check.__name__}: {type(error).__name__}: {error}", flush=True)
    sys.exit(failed > 0)
