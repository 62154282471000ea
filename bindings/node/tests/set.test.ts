import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ClosedError, CreateFailedError, ExhaustedError, ForkFailedError, ManualClock, MockFault, OverloadedError, StaleRefError, TimeoutError,
} from "sandboxset";
import type { SandboxRef } from "sandboxset";
import { failure, mockSet, threads, until } from "./support.js";

test("a sandbox is used again after its put", async () => {
  const { pool, mock } = await mockSet({ maxSize: 2 });
  const first = await pool.getOrCreateUnpaused();
  assert.equal(first.state, "held");
  assert.equal(first.reused, false);
  assert.equal((await first.exec(["hello", "world"])).stdout, "hello world\n");
  await first.put();
  assert.equal(mock.paused, 1);
  const second = await pool.getOrCreateUnpaused({ timeoutMs: 1000 });
  assert.equal(second.id, first.id);
  assert.deepEqual([second.reused, second.uses, first.uses, first.state], [true, 2, 1, "stale"]);
  await second.put();
  const { hits, gets, puts, created } = pool.stats();
  assert.deepEqual({ hits, gets, puts, created }, { hits: 1, gets: 2, puts: 2, created: 1 });
  await pool.close();
  assert.equal(mock.live, 0);
});

test("a stale ref says so and never touches the next holder", async () => {
  const { pool } = await mockSet({ maxSize: 1 });
  const old = await pool.getOrCreateUnpaused();
  await old.put();
  const next = await pool.getOrCreateUnpaused();
  assert.deepEqual([old.scratchDir, old.uses, old.hostScratchDir], [next.scratchDir, 1, undefined]);
  for (const call of [
    () => old.put(), () => old.destroy(), () => old.exec(["true"]), () => old.readFile("a"), () => old.usage(),
    () => old.connect(), () => old.ageMs,
  ]) {
    const error = await failure(StaleRefError, async () => call());
    assert.equal(error.sandboxId, old.id);
    assert.match(error.message, /was put/);
  }
  old.taint("not mine any more");
  assert.equal(next.state, "held");
  await next.destroy("it looked at me");
  const error = await failure(StaleRefError, next.put());
  assert.match(error.message, /it looked at me/);
  await until("it is destroyed", () => pool.stats().destroyedBy["it looked at me"] === 1);
  await pool.close();
});

test("await using puts what was not ended, and closes the set", async () => {
  const { pool, mock } = await mockSet();
  {
    await using open = pool;
    {
      await using sandbox = await open.getOrCreateUnpaused();
      await sandbox.exec(["x"]);
    }
    assert.equal(open.stats().puts, 1);
    {
      await using sandbox = await open.getOrCreateUnpaused();
      await sandbox.destroy("inside the block");
    }
    {
      await using sandbox = await open.getOrCreateUnpaused();
      sandbox.taint("not to be used again");
    }
    await until("both are destroyed", () => open.stats().destroyed === 2);
    assert.deepEqual(open.stats().destroyedBy, { "inside the block": 1, "not to be used again": 1 });
  }
  assert.equal(mock.live, 0);
  await failure(ClosedError, pool.getOrCreateUnpaused());
});

test("use puts, and destroys what a failing function held", async () => {
  const { pool } = await mockSet();
  assert.equal(await pool.use((sandbox) => sandbox.uses), 1);
  const problem = new RangeError("mine");
  await assert.rejects(pool.use(() => Promise.reject(problem)), (error) => error === problem);
  await assert.rejects(pool.use(() => { throw problem; }), (error) => error === problem);
  assert.equal(await pool.use(async (sandbox) => {
    await sandbox.put();
    return "ended inside";
  }), "ended inside");
  await until("two are destroyed", () => pool.stats().destroyed === 2);
  assert.deepEqual([pool.stats().puts, pool.stats().held], [2, 0]);
  assert.equal(pool.stats().destroyedBy["its holder was left by RangeError"], 2);
  await pool.close();
});

test("a thousand gets of one event loop are served in order by four sandboxes, without a thread each", async () => {
  const GETS = 1000;
  const { pool, mock } = await mockSet({ maxSize: 4, maxWaiters: GETS });
  const held = await Promise.all([1, 2, 3, 4].map(() => pool.getOrCreateUnpaused()));
  const served: number[] = [];
  let mostThreads = 0;
  const waiting = Array.from({ length: GETS }, async (_, number) => {
    const sandbox = await pool.getOrCreateUnpaused();
    served.push(number);
    if (number % 50 === 0) {
      mostThreads = Math.max(mostThreads, threads().filter((name) => name.startsWith("sandboxset-")).length);
    }
    await new Promise(setImmediate);
    await sandbox.put();
  });
  assert.equal(pool.stats().waiting, GETS);
  // The timer of their deadlines, and workers that still linger.
  const whileWaiting = threads().filter((name) => name.startsWith("sandboxset-")).length;
  assert.ok(whileWaiting < 12, `${whileWaiting} threads`);
  await Promise.all(held.map((sandbox) => sandbox.put()));
  await Promise.all(waiting);
  assert.deepEqual(served, Array.from({ length: GETS }, (_, number) => number));
  assert.ok(mostThreads < 12, `${mostThreads} threads`);
  assert.equal(mock.mostLive, 4);
  assert.equal(pool.stats().held, 0);
  await pool.close();
});

test("who cannot be served is told why", async () => {
  const { pool, mock } = await mockSet({ maxSize: 1, maxWaiters: 1 });
  const held = await pool.getOrCreateUnpaused();
  const timeout = await failure(TimeoutError, pool.getOrCreateUnpaused({ timeoutMs: 10 }));
  assert.deepEqual([timeout.phase, timeout.retryable], ["wait", true]);
  await failure(ExhaustedError, pool.getOrCreateUnpaused({ noWait: true }));
  const waits = pool.getOrCreateUnpaused();
  await failure(OverloadedError, pool.getOrCreateUnpaused());
  await held.put();
  await (await waits).destroy();
  mock.faultAlways("create", MockFault.fail("no memory"));
  const failed = await failure(CreateFailedError, pool.getOrCreateUnpaused());
  assert.match(`${failed.message} ${String(failed.cause)}`, /no memory/);
  mock.faultAlways("create");
  await (await pool.getOrCreateUnpaused()).put();
  await pool.close();
});

test("a hang of the backend holds up neither the event loop nor other calls", async () => {
  const { pool, mock } = await mockSet({ maxSize: 2 });
  await (await pool.getOrCreateUnpaused()).put();
  for (const operation of ["unpause", "pause", "create"] as const) {
    mock.faultAt(operation, mock.calls(operation) + 1, MockFault.hang());
  }
  const hanging = pool.getOrCreateUnpaused();
  assert.equal(await mock.waitForHangs("unpause", 1), true);
  const creating = pool.getOrCreateUnpaused();
  assert.equal(await mock.waitForHangs("create", 1), true);
  assert.equal(pool.stats().held, 0);
  mock.releaseHangs();
  await Promise.all([hanging, creating].map(async (sandbox) => (await sandbox).put()));
  await until("both are idle", () => pool.stats().idle === 2);
  await pool.close();
});

test("a manual clock moves what waits", async () => {
  const clock = new ManualClock();
  const { pool } = await mockSet({ maxSize: 1, clock });
  const held = await pool.getOrCreateUnpaused();
  const waits = pool.getOrCreateUnpaused({ timeoutMs: 5000 });
  clock.advance(4999);
  assert.equal(pool.stats().waiting, 1);
  clock.advance(1);
  await failure(TimeoutError, waits);
  assert.equal(clock.nowMs, 5000);
  assert.equal(held.ageMs, 5000);
  await held.put();
  await pool.close();
});

test("prewarm, shrink, drain and close manage the set", async () => {
  const { pool, mock } = await mockSet({ maxSize: 4 });
  assert.equal(await pool.prewarm(3), 3);
  assert.equal(await pool.shrink(1), 2);
  await until("two are gone", () => mock.live === 1);
  const held: SandboxRef = await pool.getOrCreateUnpaused({ acquire: "fresh_only" });
  await failure(TimeoutError, pool.drain({ deadlineMs: 1 }));
  await failure(ClosedError, pool.getOrCreateUnpaused());
  await held.put();
  await pool.drain();
  const report = await pool.close({ deadlineMs: 60_000 });
  assert.deepEqual(report.survivors, []);
  assert.equal(mock.live, 0);
});

test("children are forked from the sandboxes of a parent", async () => {
  const { pool: parent, mock } = await mockSet();
  await using pool = (await mockSet({ backend: mock, parent })).pool;
  await pool.use((sandbox) => sandbox.exec(["x"]));
  assert.equal(mock.calls("fork"), 1);
  assert.equal(parent.stats().forks, 1);
  mock.faultAlways("fork", MockFault.fail("not today"));
  const error = await failure(ForkFailedError, pool.getOrCreateUnpaused({ acquire: "fresh_only" }));
  assert.match(`${error.message} ${String(error.cause)}`, /not today/);
});
