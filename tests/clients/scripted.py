#!/usr/bin/env python3
"""Libraries of PyPI whose work is done by scripts, unchanged, against one server: queues, locks and rate limiters.

    scripted.py PORT          (run.sh starts a server and calls this)

Needs redis, rq, limits, pyrate-limiter, pottery, redlock-py, huey and celery. Each check is a function; what it says is printed.
"""
import logging
import sys
import time

import redis

from checks import run

PORT = int(sys.argv[1])
URL = f"redis://127.0.0.1:{PORT}/0"


def connect(**options):
    return redis.Redis(port=PORT, **options)


def lock_of_redis_py():
    client = connect()
    lock, other = client.lock("lock", timeout=10), client.lock("lock", timeout=10)
    assert lock.acquire(blocking=False) and not other.acquire(blocking=False)
    assert lock.extend(5) and lock.reacquire() and lock.owned() and not other.owned()
    lock.release()
    try:
        lock.release()
        raise AssertionError("a lock is released once")
    except redis.exceptions.LockError:
        pass


def scripts_of_redis_py():
    client = connect()
    double = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1] * 2)")
    assert double(keys=["n"], args=[4]) == 8
    client.script_flush()
    assert double(keys=["n"], args=[4]) == 16
    pipe = client.pipeline()
    double(keys=["n"], args=[1], client=pipe)
    double(keys=["n"], args=[1], client=pipe)
    assert pipe.execute() == [18, 20]
    client.function_load("#!lua name=py\nredis.register_function('hi', function(keys, args) return {keys[1], args[1]} end)")
    assert client.fcall("hi", 1, "k", "v") == [b"k", b"v"]
    client.function_flush()


def rq_runs_jobs():
    import rq

    client = connect()
    queue = rq.Queue(connection=client)
    jobs = [queue.enqueue(pow, 2, number) for number in range(20)]
    failing = queue.enqueue("math.sqrt", -1)
    later = queue.enqueue(pow, 2, 30, depends_on=jobs[0])
    rq.SimpleWorker([queue], connection=client).work(burst=True)
    assert [job.return_value(refresh=True) for job in jobs] == [2**number for number in range(20)]
    assert later.return_value(refresh=True) == 2**30
    assert failing.is_failed and failing.id in queue.failed_job_registry.get_job_ids()
    assert len(queue) == 0


def limits_counts():
    import limits

    store = limits.storage.storage_from_string(URL)
    for strategy in (
        limits.strategies.FixedWindowRateLimiter,
        limits.strategies.MovingWindowRateLimiter,
        limits.strategies.SlidingWindowCounterRateLimiter,
    ):
        limiter, limit = strategy(store), limits.parse("5/minute")
        name = strategy.__name__
        assert [limiter.hit(limit, name) for _ in range(7)] == [True] * 5 + [False] * 2, name
        assert limiter.get_window_stats(limit, name).remaining == 0, name
        limiter.clear(limit, name)
        assert limiter.test(limit, name), name


def pyrate_limiter_fills_buckets():
    from pyrate_limiter import Duration, Rate, RedisBucket
    from pyrate_limiter.abstracts import RateItem

    bucket = RedisBucket.init([Rate(3, Duration.SECOND * 30)], connect(), "bucket")
    now = int(time.time() * 1000)
    taken = [bucket.put(RateItem("item", now + step)) for step in range(5)]
    assert taken == [True, True, True, False, False], taken
    assert bucket.count() == 3
    bucket.leak(now + 60_000)
    assert bucket.count() == 0


def pottery_locks_and_counts():
    import pottery

    client = connect()
    lock = pottery.Redlock(key="pottery", masters={client}, auto_release_time=5)
    other = pottery.Redlock(key="pottery", masters={client}, auto_release_time=5)
    assert lock.acquire() and not other.acquire(blocking=False)
    assert 0 < lock.locked() <= 5
    lock.extend()
    lock.release()
    next_id = pottery.NextID(key="ids", masters={client})
    assert [next(next_id) for _ in range(3)] == [1, 2, 3]


def redlock_py_locks():
    import redlock

    manager = redlock.Redlock([{"host": "127.0.0.1", "port": PORT}], retry_count=1)
    lock = manager.lock("redlock", 1000)
    assert lock and not manager.lock("redlock", 1000)
    manager.unlock(lock)
    assert manager.lock("redlock", 1000)


def huey_queues():
    import huey

    app = huey.PriorityRedisHuey("app", port=PORT)

    @app.task()
    def add(a, b):
        return a + b

    low, high = add(1, 2, priority=1), add(3, 4, priority=9)
    first = app.dequeue()
    assert first.id == high.id
    app.execute(first)
    app.execute(app.dequeue())
    assert (low(), high()) == (3, 7)
    with app.lock_task("once"):
        assert app.is_locked("once")


def celery_runs_tasks():
    import celery
    from celery.contrib.testing.worker import start_worker

    app = celery.Celery("app", broker=URL, backend=URL)
    app.conf.worker_hijack_root_logger = False

    @app.task
    def add(a, b):
        return a + b

    @app.task(bind=True, max_retries=2)
    def once_more(self, n):
        if self.request.retries < 1:
            raise self.retry(countdown=0)
        return n

    @app.task
    def total(numbers):
        return sum(numbers)

    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="critical"):
        results = [add.delay(number, 1) for number in range(20)]
        assert [result.get(timeout=20) for result in results] == list(range(1, 21))
        assert once_more.delay(7).get(timeout=20) == 7
        assert celery.group(add.s(n, n) for n in range(5))().get(timeout=20) == [0, 2, 4, 6, 8]
        assert celery.chord([add.s(1, 1), add.s(2, 2)])(total.s()).get(timeout=20) == 6


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    run(PORT, [
        lock_of_redis_py, scripts_of_redis_py, rq_runs_jobs, limits_counts, pyrate_limiter_fills_buckets,
        pottery_locks_and_counts, redlock_py_locks, huey_queues, celery_runs_tasks,
    ])
