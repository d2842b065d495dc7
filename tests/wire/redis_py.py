"""A walk through redis-py: `redis_py.py PORT PROTOCOL`. Fails with the first answer that is not Redis'."""

import sys
import threading

import redis

port, protocol = int(sys.argv[1]), int(sys.argv[2])


def connect():
    return redis.Redis(port=port, protocol=protocol, decode_responses=True)


r = connect()

assert r.ping()
assert r.set("string", "value", ex=100) and r.get("string") == "value"
assert 0 < r.ttl("string") <= 100
assert r.set("string", "other", nx=True) is None
assert r.mset({"a": 1, "b": 2}) and r.mget("a", "b", "none") == ["1", "2", None]
assert r.incrby("counter", 5) == 5 and r.incrbyfloat("float", 1.5) == 1.5

assert r.rpush("list", *"abc") == 3 and r.lrange("list", 0, -1) == ["a", "b", "c"]
assert r.lpos("list", "b") == 1 and r.lmove("list", "other list", "LEFT", "RIGHT") == "a"
assert r.hset("hash", mapping={"f": "v", "n": "1"}) == 2 and r.hgetall("hash") == {"f": "v", "n": "1"}
assert r.sadd("set", 1, 2, 3) == 3 and r.smembers("set") == {"1", "2", "3"} and r.sismember("set", 2)

with r.pipeline() as pipe:
    pipe.multi()
    pipe.incr("counter")
    pipe.lrange("list", 0, -1)
    pipe.hgetall("hash")
    assert pipe.execute() == [6, ["b", "c"], {"f": "v", "n": "1"}]

with r.pipeline() as pipe:
    pipe.watch("counter")
    r.incr("counter")
    pipe.multi()
    pipe.get("counter")
    try:
        pipe.execute()
        raise AssertionError("a watched key has changed")
    except redis.WatchError:
        pass

try:
    r.lpush("string", "x")
    raise AssertionError("WRONGTYPE is expected")
except redis.ResponseError as error:
    assert str(error).startswith("WRONGTYPE"), error

assert sorted(r.scan_iter(match="*s*")) == ["hash", "list", "other list", "set", "string"] or set(
    r.scan_iter(match="*s*")
) >= {"hash", "list", "set", "string"}

popped = []
waiter = threading.Thread(target=lambda: popped.append(connect().blpop(["queue"], timeout=20)))
waiter.start()
r.rpush("queue", "job")
waiter.join()
assert [tuple(item) for item in popped] == [("queue", "job")], popped

subscriber = connect().pubsub()
subscriber.subscribe("channel")
subscriber.psubscribe("pattern*")
assert subscriber.get_message(timeout=5)["type"] == "subscribe"
assert subscriber.get_message(timeout=5)["type"] == "psubscribe"
assert r.publish("channel", "message") == 1
assert r.publish("pattern one", "another") == 1
assert subscriber.get_message(timeout=5)["data"] == "message"
message = subscriber.get_message(timeout=5)
assert (message["type"], message["pattern"], message["data"]) == ("pmessage", "pattern*", "another"), message
subscriber.close()

assert r.client_setname("walker") and r.client_getname() == "walker"
assert any(client["name"] == "walker" for client in r.client_list())
assert r.config_get("maxmemory") == {"maxmemory": "0"}
assert r.config_set("maxmemory", 1 << 30) and r.config_get("max*ory")["maxmemory"] == str(1 << 30)
info = r.info()
assert info["redis_version"] and info["role"] == "master" and info["db0"]["keys"] > 5, info
assert r.command_count() > 50 and "get" in r.command()
assert r.dbsize() == len(r.keys("*"))
assert r.type("hash") == "hash" and r.object("encoding", "hash") in ("listpack", "ziplist")
assert r.copy("hash", "hash copy") and r.rename("hash copy", "renamed")
assert r.unlink("renamed") == 1 and not r.exists("renamed")
assert r.wait(0, 100) == 0
assert r.flushall() and r.dbsize() == 0
