import assert from "node:assert/strict";
import { test } from "node:test";
import type { Event } from "sandboxset";
import { mockSet } from "./support.js";

test("events come in order, until the set is closed", async () => {
  const { pool } = await mockSet({ maxSize: 1 });
  const stream = pool.events();
  const seen: Event[] = [];
  const reading = (async () => {
    for await (const event of stream) {
      seen.push(event);
    }
  })();
  const sandbox = await pool.getOrCreateUnpaused();
  await sandbox.put();
  await (await pool.getOrCreateUnpaused()).destroy("enough");
  await pool.close();
  await reading;
  assert.deepEqual(seen.map(({ kind }) => kind), ["create", "put", "pause", "unpause", "destroy"]);
  assert.deepEqual(seen.map(({ sequence }) => sequence), [1, 2, 3, 4, 5]);
  assert.deepEqual([seen[4]?.reason, seen[4]?.sandboxId], ["enough", sandbox.id]);
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
});

test("a slow reader is told what it lost", async () => {
  const { pool } = await mockSet({ maxSize: 1 });
  await using stream = pool.events({ capacity: 2 });
  await (await pool.getOrCreateUnpaused()).put();
  await (await pool.getOrCreateUnpaused()).put();
  const { value } = await stream.next();
  assert.deepEqual([value?.kind, value?.lost], ["lost", 4]);
  assert.deepEqual([(await stream.next()).value?.kind, (await stream.next()).value?.kind], ["put", "pause"]);
  await pool.close();
});

test("leaving the loop, an abort and return end a subscription", async () => {
  const { pool } = await mockSet({ maxSize: 1 });
  const controller = new AbortController();
  const aborted = pool.events({ signal: controller.signal });
  const returned = pool.events();
  const left = pool.events();
  const waits = [aborted.next(), returned.next(), returned.next()];
  controller.abort();
  await returned.return();
  for (const wait of waits) {
    assert.deepEqual(await wait, { done: true, value: undefined });
  }
  await (await pool.getOrCreateUnpaused()).put();
  for await (const event of left) {
    assert.equal(event.kind, "create");
    break;
  }
  assert.deepEqual(await left.next(), { done: true, value: undefined });
  assert.deepEqual(await pool.events({ signal: controller.signal }).next(), { done: true, value: undefined });
  await pool.close();
});
