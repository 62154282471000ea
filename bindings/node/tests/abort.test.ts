import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { AbortError, MockFault, SandboxSet } from "sandboxset";
import { failure, mockSet, noLinux, until } from "./support.js";

const skip = await noLinux();

test("a call whose signal was aborted before is not made", async () => {
  const { pool, mock } = await mockSet();
  const signal = AbortSignal.abort("too late");
  const error = await failure(AbortError, pool.getOrCreateUnpaused({ signal }));
  assert.deepEqual([error.cause, error.code, error.name], ["too late", "ABORT_ERR", "AbortError"]);
  assert.equal(mock.calls("create"), 0);
  const sandbox = await pool.getOrCreateUnpaused();
  await failure(AbortError, sandbox.exec(["x"], { signal }));
  await failure(AbortError, sandbox.spawn(["x"], { signal }));
  await failure(AbortError, sandbox.call("x", { signal }));
  await failure(AbortError, sandbox.connect({ signal }));
  assert.deepEqual([mock.calls("exec"), mock.calls("connect")], [0, 0]);
  await sandbox.put();
  assert.equal(pool.stats().idle, 1);
  await pool.close();
});

test("an abort during the wait gives up the place in the queue", async () => {
  const { pool } = await mockSet({ maxSize: 1 });
  const held = await pool.getOrCreateUnpaused();
  const controller = new AbortController();
  const [gone, next] = [pool.getOrCreateUnpaused({ signal: controller.signal }), pool.getOrCreateUnpaused()];
  assert.equal(pool.stats().waiting, 2);
  controller.abort();
  const error = await failure(AbortError, gone);
  assert.equal(error.phase, "wait");
  assert.equal((error.cause as Error).name, "AbortError");
  assert.equal(pool.stats().waiting, 1);
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
  await held.put();
  await (await next).put();
  await pool.close();
});

test("what came just before an abort goes back to the set", async () => {
  const { pool } = await mockSet({ maxSize: 1 });
  const held = await pool.getOrCreateUnpaused();
  const controller = new AbortController();
  const wait = pool.getOrCreateUnpaused({ signal: controller.signal });
  // Handed over at once, and aborted before anybody could see it.
  await held.put();
  controller.abort();
  await failure(AbortError, wait);
  await until("it is idle again", () => pool.stats().idle === 1);
  assert.equal(pool.stats().held, 0);
  await pool.close();
});

test("AbortSignal.timeout ends a wait, and says so in the cause", async () => {
  const { pool } = await mockSet({ maxSize: 1 });
  const held = await pool.getOrCreateUnpaused();
  const error = await failure(AbortError, pool.getOrCreateUnpaused({ signal: AbortSignal.timeout(10) }));
  assert.equal((error.cause as Error).name, "TimeoutError");
  await held.put();
  await pool.close();
});

test("an abort abandons a create, whose sandbox serves the next", async () => {
  const { pool, mock } = await mockSet({ maxSize: 1 });
  mock.faultAt("create", 1, MockFault.hang());
  const controller = new AbortController();
  const wait = pool.getOrCreateUnpaused({ signal: controller.signal });
  assert.ok(await mock.waitForHangs("create", 1));
  controller.abort();
  await failure(AbortError, wait);
  mock.releaseHangs();
  const sandbox = await pool.getOrCreateUnpaused();
  assert.equal(mock.calls("create"), 1);
  await sandbox.put();
  await pool.close();
});

test("an abort kills a command, and its sandbox is not used again", { skip }, async () => {
  await using pool = await SandboxSet.open({ maxSize: 1 });
  const sandbox = await pool.getOrCreateUnpaused();
  const controller = new AbortController();
  const running = sandbox.exec(["/bin/sleep", "1000"], { signal: controller.signal, timeoutMs: 1e6 });
  const usage = async (): Promise<number> => (await sandbox.usage()).pids;
  while ((await usage()) < 2) {
    await new Promise(setImmediate);
  }
  controller.abort(new Error("changed my mind"));
  const error = await failure(AbortError, running);
  assert.equal((error.cause as Error).message, "changed my mind");
  await sandbox.put();
  await until("it is destroyed", () => pool.stats().destroyed === 1);
});

test("an abort kills a command that was spawned", { skip }, async () => {
  await using pool = await SandboxSet.open({ maxSize: 1 });
  await using sandbox = await pool.getOrCreateUnpaused();
  const controller = new AbortController();
  const process = await sandbox.spawn(["/bin/sleep", "1000"], { signal: controller.signal, timeoutMs: 1e6 });
  await failure(AbortError, process.wait({ signal: AbortSignal.abort() }));
  controller.abort();
  const output = await process.wait();
  assert.deepEqual([output.outcome, output.signal], ["signaled", 9]);
  assert.equal(getEventListeners(controller.signal, "abort").length, 0);
});
