#!/usr/bin/env python3
"""Queues, caches and locks of PyPI that are made for older versions of redis-py, unchanged, against one server.

    queues.py PORT          (run.sh starts a server and calls this)

Needs dramatiq, arq, django-redis, python-redis-lock and fastapi-limiter before 0.2.
"""
import asyncio
import logging
import sys

import redis

from checks import run

PORT = int(sys.argv[1])
URL = f"redis://127.0.0.1:{PORT}/0"


def dramatiq_runs_tasks():
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.rate_limits import ConcurrentRateLimiter, WindowRateLimiter
    from dramatiq.rate_limits.backends import RedisBackend
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend as ResultBackend

    broker = RedisBroker(url=URL)
    broker.add_middleware(Results(backend=ResultBackend(url=URL)))
    dramatiq.set_broker(broker)
    failures = []

    @dramatiq.actor(store_results=True)
    def double(n):
        return 2 * n

    @dramatiq.actor(max_retries=3, min_backoff=10, max_backoff=20)
    def fails_once():
        failures.append(1)
        if len(failures) == 1:
            raise ValueError("once more")

    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
    worker.start()
    try:
        messages = [double.send(number) for number in range(20)]
        messages.append(double.send_with_options(args=(20,), delay=100))
        fails_once.send()
        assert [message.get_result(block=True, timeout=20000) for message in messages] == list(range(0, 42, 2))
        broker.join("default", timeout=20000)
        assert len(failures) == 2, failures
    finally:
        worker.stop()
        broker.close()
    limits = RedisBackend(url=URL)
    mutex = ConcurrentRateLimiter(limits, "mutex", limit=1)
    with mutex.acquire(raise_on_failure=False) as got, mutex.acquire(raise_on_failure=False) as again:
        assert got and not again
    window = WindowRateLimiter(limits, "window", limit=2, window=60)
    taken = []
    for _ in range(3):
        with window.acquire(raise_on_failure=False) as got:
            taken.append(got)
    assert taken == [True, True, False], taken


def arq_runs_jobs():
    from arq import create_pool
    from arq.connections import RedisSettings
    from arq.worker import Worker, func

    async def double(_, n):
        return 2 * n

    async def all_of_it():
        settings = RedisSettings(port=PORT)
        pool = await create_pool(settings)
        jobs = [await pool.enqueue_job("double", number) for number in range(20)]
        assert await pool.enqueue_job("double", 1, _job_id=jobs[0].job_id) is None
        worker = Worker([func(double, name="double")], redis_settings=settings, burst=True, poll_delay=0.05, handle_signals=False)
        await worker.async_run()
        assert [await job.result(timeout=10) for job in jobs] == list(range(0, 40, 2))
        await worker.close()
        await pool.aclose()

    asyncio.run(all_of_it())


def django_redis_caches():
    import django
    from django.conf import settings

    settings.configure(CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": URL}})
    django.setup()
    from django.core.cache import cache

    cache.set("n", 1, timeout=60)
    assert (cache.incr("n"), cache.incr("n", 4), cache.decr("n")) == (2, 6, 5)
    cache.set_many({"a": 1, "b": [2]}, timeout=60)
    assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": [2]}
    assert 0 < cache.ttl("n") <= 60 and cache.persist("n") and cache.ttl("n") is None
    assert sorted(cache.iter_keys("*")) == ["a", "b", "n"]
    lock = cache.lock("lock", timeout=10)
    assert lock.acquire(blocking=False) and not cache.lock("lock", timeout=10).acquire(blocking=False)
    lock.release()
    assert cache.delete_pattern("*") == 3


def python_redis_lock_locks():
    import redis_lock

    client = redis.Redis(port=PORT)
    lock = redis_lock.Lock(client, "lock", expire=10, auto_renewal=False)
    other = redis_lock.Lock(client, "lock", expire=10)
    assert lock.acquire(blocking=False) and not other.acquire(blocking=False)
    assert other.locked() and lock.get_owner_id() == lock.id.encode() or lock.get_owner_id() == lock.id
    lock.extend(20)
    lock.release()
    assert other.acquire(timeout=1)
    other.reset()
    redis_lock.reset_all(client)


def fastapi_limiter_counts():
    import redis.asyncio
    from fastapi_limiter import FastAPILimiter
    from fastapi_limiter.depends import RateLimiter

    async def all_of_it():
        client = redis.asyncio.Redis(port=PORT)
        await FastAPILimiter.init(client)
        limiter = RateLimiter(times=2, seconds=30)
        waits = [await limiter._check("user") for _ in range(3)]
        assert waits[:2] == [0, 0] and 0 < waits[2] <= 30000, waits
        await FastAPILimiter.close()

    asyncio.run(all_of_it())


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    run(PORT, [
        dramatiq_runs_tasks, arq_runs_jobs, django_redis_caches, python_redis_lock_locks, fastapi_limiter_counts,
    ])
