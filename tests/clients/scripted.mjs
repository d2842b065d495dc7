// Libraries of npm whose work is done by scripts, unchanged, against one server: BullMQ, Redlock, rate-limiter-flexible.
//
//     node scripted.mjs PORT          (run.sh starts a server and calls this)
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.RUSSET_NODE_MODULES ?? process.cwd()}/`);
const { Redis } = require("ioredis");
const { Queue, Worker, QueueEvents, FlowProducer } = require("bullmq");
const Redlock = require("redlock");
const { RateLimiterRedis } = require("rate-limiter-flexible");

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

let failed = 0;
for (const check of [ioredisCommands, redlock, rateLimiterFlexible, bullmq]) {
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
