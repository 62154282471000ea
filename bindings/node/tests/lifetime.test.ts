import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { SandboxSet } from "sandboxset";
import { collectedUntil, mockSet, noLinux, runNode, sleeping, until } from "./support.js";

const IMPORT = 'import { SandboxSet, MockBackend, MockFault } from "sandboxset";\n';
const MOCK = `${IMPORT}const pool = await SandboxSet.open({ backend: new MockBackend(), maxSize: 1 });\n`;
const HELD = `${MOCK}const sandbox = await pool.getOrCreateUnpaused();\n`;
const skip = await noLinux();

test("an idle set, and a held sandbox, keep no process alive", async () => {
  const idle = await runNode(`${HELD}await sandbox.put(); console.log("done");`);
  assert.deepEqual(idle, { code: 0, signal: null, stdout: "done\n", stderr: "" });
  const held = await runNode(`${HELD}globalThis.kept = sandbox; console.log("done");`);
  assert.deepEqual(held, { code: 0, signal: null, stdout: "done\n", stderr: "" });
});

test("a pending call keeps its process alive until it is settled", async () => {
  const ended = await runNode(`${HELD}
    pool.getOrCreateUnpaused({ timeoutMs: 300 }).catch((error) => console.log(error.code));`);
  assert.deepEqual(ended, { code: 0, signal: null, stdout: "ERR_SANDBOXSET_TIMEOUT\n", stderr: "" });
});

test("an unhandled rejection ends the process as any other does", async () => {
  const ended = await runNode(`${HELD}pool.getOrCreateUnpaused({ noWait: true });`);
  assert.equal(ended.code, 1);
  assert.match(ended.stderr, /ExhaustedError.*\n[^]*ERR_SANDBOXSET_EXHAUSTED/);
});

test("process.exit inside a callback ends the process with calls under way", async () => {
  const ended = await runNode(`${HELD}
    const waits = [1, 2, 3].map(() => pool.getOrCreateUnpaused());
    waits[0].then(() => process.exit(7));
    await sandbox.put();
    await new Promise(() => {});`);
  assert.deepEqual(ended, { code: 7, signal: null, stdout: "", stderr: "" });
});

test("process.exit while a backend hangs does not wait for it", async () => {
  const ended = await runNode(`${IMPORT}
    const mock = new MockBackend();
    mock.faultAlways("create", MockFault.hang());
    const pool = await SandboxSet.open({ backend: mock });
    pool.getOrCreateUnpaused();
    await mock.waitForHangs("create", 1);
    process.exit(3);`);
  assert.deepEqual([ended.code, ended.signal], [3, null]);
});

for (const [how, end] of [["falls off its end", ""], ["exits", "process.exit(0);"], ["is killed", "process.kill(process.pid, 'SIGKILL');"]]) {
  test(`the sandboxes of a process that ${how} end with it`, { skip }, async () => {
    const ended = await runNode(`import { SandboxSet } from "sandboxset";
      const pool = await SandboxSet.open({ maxSize: 2 });
      const sandbox = await pool.getOrCreateUnpaused();
      const running = await sandbox.spawn(["/bin/sleep", "${1000 + process.pid}"], { timeoutMs: 1e6 });
      await (await pool.getOrCreateUnpaused()).put();
      globalThis.kept = [sandbox, running];
      const { sleeping } = await import("./build/support.js");
      while (!sleeping(${1000 + process.pid})) {
        await new Promise(setImmediate);
      }
      console.log("ready");
      ${end}`);
    assert.equal(ended.stdout, "ready\n", ended.stderr);
    assert.equal(ended.signal, how === "is killed" ? "SIGKILL" : null);
    await until("the command is gone", () => !sleeping(1000 + process.pid));
  });
}

test("a worker that is terminated takes its sandboxes and waiters with it", { skip }, async () => {
  const worker = new Worker(`
    const { parentPort } = require("node:worker_threads");
    import("sandboxset").then(async ({ SandboxSet, MockBackend }) => {
      const pool = await SandboxSet.open({ maxSize: 1 });
      const sandbox = await pool.getOrCreateUnpaused();
      globalThis.kept = await sandbox.spawn(["/bin/sleep", "${2000 + process.pid}"], { timeoutMs: 1e6 });
      globalThis.waits = [pool.getOrCreateUnpaused(), sandbox.exec(["/bin/sleep", "1000"], { timeoutMs: 1e6 })];
      globalThis.events = pool.events().next();
      parentPort.postMessage("ready");
    });`, { eval: true });
  await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  assert.ok(sleeping(2000 + process.pid));
  await worker.terminate();
  await until("the command is gone", () => !sleeping(2000 + process.pid));
});

test("many workers use sets of their own and end by themselves", async () => {
  const program = `
    const { parentPort } = require("node:worker_threads");
    import("sandboxset").then(async ({ SandboxSet, MockBackend }) => {
      const pool = await SandboxSet.open({ backend: new MockBackend(), maxSize: 2 });
      await Promise.all(Array.from({ length: 100 }, () => pool.use((sandbox) => sandbox.exec(["x"]))));
      parentPort.postMessage(pool.stats().gets);
    });`;
  const served = await Promise.all(Array.from({ length: 8 }, () => new Promise<number>((resolve, reject) => {
    let gets = 0;
    new Worker(program, { eval: true })
      .on("message", (message: number) => (gets = message))
      .on("error", reject)
      .on("exit", (code) => (code === 0 ? resolve(gets) : reject(new Error(`exit code ${code}`))));
  })));
  assert.deepEqual(served, Array.from({ length: 8 }, () => 100));
});

test("a forgotten ref is destroyed, with a warning", async () => {
  const { pool, mock } = await mockSet({ maxSize: 1 });
  const warnings: Error[] = [];
  const listener = (warning: Error): number => warnings.push(warning);
  process.on("warning", listener);
  try {
    await (async () => {
      const sandbox = await pool.getOrCreateUnpaused();
      await sandbox.exec(["x"]);
    })();
    await collectedUntil("the warning", () => warnings.length > 0);
    assert.match(String(warnings[0]), /sandbox \d+ was neither put nor destroyed/);
    assert.equal((warnings[0] as NodeJS.ErrnoException).code, "SANDBOXSET_FORGOTTEN_REF");
    await until("it is gone", () => mock.live === 0);
    await (await pool.getOrCreateUnpaused()).put();
  } finally {
    process.off("warning", listener);
    await pool.close();
  }
});

test("a ref is not collected while a call on it is under way, nor warned about once it was put", async () => {
  const { pool, mock } = await mockSet({ maxSize: 1 });
  mock.faultAlways("exec", (await import("sandboxset")).MockFault.hang());
  const call = (await pool.getOrCreateUnpaused()).exec(["still", "here"]);
  assert.ok(await mock.waitForHangs("exec", 1));
  let turns = 0;
  await collectedUntil("some collections", () => ++turns > 20);
  assert.equal(pool.stats().held, 1);
  mock.releaseHangs();
  assert.equal((await call).stdout, "still here\n");
  await collectedUntil("the forgotten one is gone", () => pool.stats().held === 0);
  await pool.close();
});

test("a forgotten set closes itself", async () => {
  const { MockBackend } = await import("sandboxset");
  const mock = new MockBackend();
  await (async () => {
    const pool = await SandboxSet.open({ backend: mock });
    await pool.prewarm(2);
  })();
  await collectedUntil("its sandboxes are gone", () => mock.live === 0);
});
