// Libraries of npm whose work is done by scripts, unchanged, against one server: BullMQ, Bull, Bee-Queue, Redlock,
// redis-semaphore, rate-limiter-flexible, rate-limit-redis, and the scripts and functions of ioredis and node-redis.
//
//     node scripted.mjs PORT          (run.sh starts a server and calls this)
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.RUSSET_NODE_MODULES ?? process.cwd()}/`);
const { Redis } = require("ioredis");
const { Queue, Worker, QueueEvents, FlowProducer } = require("bullmq");
const Redlock = require("redlock");
const { RateLimiterRedis } = require("rate-limiter-flexible");
const Bull = require("bull");
const BeeQueue = require("bee-queue");
const { Mutex, Semaphore } = require("redis-semaphore");
const { RedisStore } = require("rate-limit-redis");
const { createClient, defineScript, RESP_TYPES } = require("redis");

const port = Number(process.argv[2]);
const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
const open = () => new Redis(connection);

async function bullmq() {
  const queue = new Queue("work", { connection });
  const events = new QueueEvents("work", { connection });
  await events.waitUntilReady();
  const worker = new Worker("work", async (job) => {
    if (job.data.fails && job.attemptsMade < 1) throw new Error("once more");
    await job.updateProgress(50);
    return job.data.n * 2;
  }, { connection, concurrency: 4, limiter: { max: 1000, duration: 1000 } });
  const jobs = await queue.addBulk([...Array(50).keys()].map((n) => ({ name: "double", data: { n } })));
  jobs.push(await queue.add("double", { n: 50 }, { delay: 100 }));
  jobs.push(await queue.add("double", { n: 51 }, { priority: 3 }));
  jobs.push(await queue.add("double", { n: 52, fails: true }, { attempts: 3, backoff: 10 }));
  const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 20000)));
  assert.deepEqual(results, [...Array(53).keys()].map((n) => n * 2));
  const flow = await new FlowProducer({ connection }).add({
    name: "parent", queueName: "work", data: { n: 1 }, children: [{ name: "child", queueName: "work", data: { n: 2 } }],
  });
  assert.equal(await flow.job.waitUntilFinished(events, 20000), 2);
  await queue.upsertJobScheduler("often", { every: 50 }, { data: { n: 9 } });
  await new Promise((done) => setTimeout(done, 300));
  await queue.removeJobScheduler("often");
  await queue.pause();
  assert.equal(await queue.isPaused(), true);
  await queue.resume();
  const counts = await queue.getJobCounts();
  assert.ok(counts.completed >= 55 && counts.failed === 0, JSON.stringify(counts));
  await worker.close();
  await queue.obliterate({ force: true });
  await Promise.all([queue.close(), events.close()]);
}

async function redlock() {
  const client = open();
  const locks = new Redlock([client], { retryCount: 0 });
  const lock = await locks.lock("resource", 5000);
  await assert.rejects(locks.lock("resource", 5000));
  await (await lock.extend(6000)).unlock();
  await (await locks.lock(["resource", "other"], 5000)).unlock();
  await client.quit();
}

async function rateLimiterFlexible() {
  const client = open();
  const limiter = new RateLimiterRedis({ storeClient: client, points: 5, duration: 10, blockDuration: 10, keyPrefix: "rl" });
  for (let taken = 1; taken <= 5; taken += 1) assert.equal((await limiter.consume("user")).remainingPoints, 5 - taken);
  await assert.rejects(limiter.consume("user"));
  await limiter.delete("user");
  assert.equal((await limiter.penalty("user", 2)).consumedPoints, 2);
  await client.quit();
}

async function ioredisCommands() {
  const client = open();
  client.defineCommand("take", { numberOfKeys: 1, lua: "return {KEYS[1], redis.call('DECRBY', KEYS[1], ARGV[1])}" });
  assert.deepEqual(await client.take("left", 3), ["left", -3]);
  await client.script("FLUSH");
  assert.deepEqual(await client.pipeline().take("left", 1).take("left", 1).exec(), [[null, ["left", -4]], [null, ["left", -5]]]);
  await client.quit();
}

async function bull() {
  const queue = new Bull("bull", { redis: { host: "127.0.0.1", port }, limiter: { max: 1000, duration: 1000 } });
  queue.process(4, async (job) => {
    if (job.data.fails && job.attemptsMade < 1) throw new Error("once more");
    await job.progress(50);
    return job.data.n * 2;
  });
  const jobs = await queue.addBulk([...Array(30).keys()].map((n) => ({ data: { n } })));
  jobs.push(await queue.add({ n: 30 }, { delay: 100 }));
  jobs.push(await queue.add({ n: 31 }, { priority: 3 }));
  jobs.push(await queue.add({ n: 32, fails: true }, { attempts: 3, backoff: 10 }));
  assert.deepEqual(await Promise.all(jobs.map((job) => job.finished())), [...Array(33).keys()].map((n) => n * 2));
  await queue.pause();
  assert.equal(await queue.isPaused(), true);
  await queue.resume();
  const counts = await queue.getJobCounts();
  assert.ok(counts.completed === 33 && counts.failed === 0, JSON.stringify(counts));
  await queue.obliterate({ force: true });
  await queue.close();
}

async function beeQueue() {
  const queue = new BeeQueue("bee", { redis: { host: "127.0.0.1", port }, activateDelayedJobs: true, nearTermWindow: 200 });
  await queue.ready();
  queue.process(2, async (job) => {
    if (job.data.fails && job.options.retries > 1) throw new Error("once more");
    job.reportProgress(50);
    return job.data.n * 2;
  });
  const run = (job) => new Promise((done, fail) => {
    job.on("succeeded", done);
    job.on("failed", fail);
    job.save().catch(fail);
  });
  const jobs = [...Array(20).keys()].map((n) => queue.createJob({ n }));
  jobs.push(queue.createJob({ n: 20 }).delayUntil(Date.now() + 100));
  jobs.push(queue.createJob({ n: 21, fails: true }).retries(2));
  assert.deepEqual(await Promise.all(jobs.map(run)), [...Array(22).keys()].map((n) => n * 2));
  assert.equal((await queue.checkHealth()).succeeded, 22);
  await queue.destroy();
  await queue.close(1000);
}

async function redisSemaphore() {
  const client = open();
  const options = { lockTimeout: 5000, acquireTimeout: 100, retryInterval: 10 };
  const [mutex, other] = [new Mutex(client, "mutex", options), new Mutex(client, "mutex", options)];
  await mutex.acquire();
  assert.equal(await other.tryAcquire(), false);
  await mutex.release();
  assert.equal(await other.tryAcquire(), true);
  await other.release();
  const places = [1, 2, 3].map(() => new Semaphore(client, "semaphore", 2, options));
  assert.deepEqual([await places[0].tryAcquire(), await places[1].tryAcquire(), await places[2].tryAcquire()], [true, true, false]);
  await Promise.all([places[0].release(), places[1].release()]);
  await client.quit();
}

async function rateLimitRedis() {
  const client = open();
  const store = new RedisStore({ sendCommand: (...words) => client.call(...words) });
  store.init({ windowMs: 10000 });
  assert.deepEqual([(await store.increment("user")).totalHits, (await store.increment("user")).totalHits], [1, 2]);
  await store.decrement("user");
  assert.equal((await store.get("user")).totalHits, 1);
  await store.resetKey("user");
  assert.equal((await store.increment("user")).totalHits, 1);
  await client.quit();
}

const TAKE = defineScript({
  NUMBER_OF_KEYS: 1,
  SCRIPT: "return {KEYS[1], redis.call('DECRBY', KEYS[1], ARGV[1])}",
  parseCommand(parser, key, count) {
    parser.pushKey(key);
    parser.push(count.toString());
  },
  transformReply: (reply) => reply,
});
const LIBRARY = `#!lua name=stock
redis.register_function('put', function(keys, args) return redis.call('INCRBY', keys[1], args[1]) end)
redis.register_function{function_name='left', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}`;
const FUNCTIONS = {
  stock: {
    put: { ...TAKE, IS_READ_ONLY: false },
    left: { NUMBER_OF_KEYS: 1, IS_READ_ONLY: true, parseCommand: (parser, key) => parser.pushKey(key), transformReply: (reply) => reply },
  },
};

async function nodeRedis() {
  for (const RESP of [2, 3]) {
    const options = { socket: { host: "127.0.0.1", port }, RESP, scripts: { take: TAKE }, functions: FUNCTIONS };
    const client = await createClient(options).connect();
    await client.flushAll();
    await client.scriptFlush();
    assert.deepEqual(await client.take("left", 3), ["left", -3]);
    assert.deepEqual(await client.multi().take("left", 1).take("left", 1).exec(), [["left", -4], ["left", -5]]);
    assert.equal(await client.functionLoad(LIBRARY, { REPLACE: true }), "stock");
    assert.equal(await client.stock.put("left", 15), 10);
    assert.equal(await client.stock.left("left"), "10");
    assert.deepEqual((await client.functionList()).map((library) => library.library_name), ["stock"]);
    const payload = await client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).functionDump();
    await client.functionFlush();
    await client.functionRestore(payload);
    assert.equal(await client.fCallRo("left", { keys: ["left"] }), "10");
    assert.equal((await client.functionStats()).engines.LUA.libraries_count, 1);
    await client.functionDelete("stock");
    await assert.rejects(client.stock.left("left"), /Function not found/);
    await client.close();
  }
}

let failed = 0;
const checks = [ioredisCommands, nodeRedis, redlock, redisSemaphore, rateLimiterFlexible, rateLimitRedis, beeQueue, bull, bullmq];
for (const check of checks) {
  const client = open();
  await client.flushall();
  await client.quit();
  try {
    await check();
    console.log(`ok      ${check.name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${check.name}: ${error.stack}`);
  }
}
process.exit(failed ? 1 : 0);
