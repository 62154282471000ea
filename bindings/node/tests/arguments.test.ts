import assert from "node:assert/strict";
import { test } from "node:test";
import {
  InvalidArgumentError, LinuxBackend, ManualClock, MockBackend, MockFault, proposeTree, SandboxSet, TooBigError,
} from "sandboxset";
import { failure, mockSet } from "./support.js";

type Call = (value: never) => unknown;

/** Each of these values, given to the call, is refused with an error that begins with the name of the argument. */
async function refused(field: string, values: readonly unknown[], call: Call): Promise<void> {
  for (const value of values) {
    try {
      await call(value as never);
    } catch (error) {
      const said = `${field} = ${String(value)}: ${String(error)}`;
      assert.ok(error instanceof InvalidArgumentError || error instanceof TypeError, said);
      assert.ok(error.message.startsWith(field), said);
      if (error instanceof InvalidArgumentError) {
        assert.equal(error.code, "ERR_SANDBOXSET_INVALID_ARGUMENT");
        assert.ok(error.field?.startsWith(field), said);
      } else {
        assert.equal((error as NodeJS.ErrnoException).code, "ERR_INVALID_ARG_TYPE", said);
      }
      continue;
    }
    assert.fail(`${field} = ${String(value)} was accepted`);
  }
}

const NO_NUMBERS = ["1", true, null, 1n, {}, [], () => 1];
const NO_COUNTS = [...NO_NUMBERS, -1, 0.5, NaN, Infinity, 2 ** 53];
const NO_TIMES = [...NO_NUMBERS, -1, NaN, Infinity, 1e13];
const NO_TEXTS = [1, true, null, {}, [], Symbol("x"), "lone \ud800 surrogate"];
const NO_FLAGS = [0, "true", null, {}];
const NO_OBJECTS = [1, "x", true, null, []];

test("options of a set", async () => {
  const open = (option: string) => (value: never) => SandboxSet.open({ backend: new MockBackend(), [option]: value });
  for (const option of ["maxSize", "minIdle", "maxWaiters", "maxForks"]) {
    await refused(option, NO_COUNTS, open(option));
  }
  await refused("maxSize", [0, 2 ** 21], open("maxSize"));
  await refused("minIdle", [9], open("minIdle"));
  await refused("maxForks", [0], open("maxForks"));
  for (const option of ["getTimeoutMs", "createTimeoutMs"]) {
    await refused(option, NO_TIMES, open(option));
  }
  await refused("createTimeoutMs", [0], open("createTimeoutMs"));
  await refused("reuse", [...NO_TEXTS, "Keep", ""], open("reuse"));
  await refused("root", [...NO_TEXTS, "", "/no/such/directory", "oci:/no/such/layout"], open("root"));
  await refused("codeDir", [...NO_TEXTS, "", "no/such/directory"], open("codeDir"));
  await refused("scratchDirs", [...NO_TEXTS, "/no/such/directory"], open("scratchDirs"));
  await refused("env", [...NO_OBJECTS, { A: 1 }, { "A=B": "x" }, { A: "nul \0" }], open("env"));
  await refused("binds", [1, "x", {}, [1], [{}], [{ source: "/usr" }], [{ source: "/usr", target: "relative" }],
    [{ source: "/usr", target: "/x", writable: 1 }], [{ source: "/usr", target: "/x", mode: 1 }]], open("binds"));
  for (const limit of ["memoryBytes", "pids", "scratchBytes", "scratchInodes", "openFiles", "fileBytes"]) {
    await refused(`limits.${limit}`, NO_COUNTS, (value) => open("limits")({ [limit]: value } as never));
  }
  await refused("limits.cpus", [...NO_NUMBERS, 0, -1, NaN], (value) => open("limits")({ cpus: value } as never));
  await refused("limits.pids", [2 ** 32], (value) => open("limits")({ pids: value } as never));
  await refused("limits", [...NO_OBJECTS, { memory: 1 }], open("limits"));
  await refused("layers", [...NO_OBJECTS, { seccomp: "on" }, { seccomp: 1 }], open("layers"));
  await refused("backend", [...NO_OBJECTS, {}, MockBackend], open("backend"));
  await refused("parent", [...NO_OBJECTS, {}], open("parent"));
  await refused("commandPolicy", [...NO_OBJECTS, {}], open("commandPolicy"));
  await refused("clock", [...NO_OBJECTS, {}], open("clock"));
  await refused("max_size", [8], open("max_size"));
  await refused("options", NO_OBJECTS, (value) => SandboxSet.open(value));
});

test("options of a runtime", async () => {
  const open = (runtime: object): Promise<SandboxSet> =>
    SandboxSet.open({ backend: new MockBackend(), runtime: runtime as never });
  await refused("runtime", NO_OBJECTS, open);
  await refused("runtime.kind", [...NO_TEXTS, undefined, "java"], (kind) => open({ kind }));
  await refused("runtime.args", [undefined, "ls", [], [""], [1], ["nul \0"]], (args) => open({ kind: "command", args }));
  await refused("runtime.forks", NO_FLAGS, (forks) => open({ kind: "command", args: ["x"], forks }));
  await refused("runtime.readyTimeoutMs", [...NO_TIMES, 0], (readyTimeoutMs) =>
    open({ kind: "command", args: ["x"], readyTimeoutMs }));
  await refused("runtime.handler", [undefined, 1], (handler) => open({ kind: "node", handler }));
  await refused("handler", ["", "app", ":f"], (handler) => open({ kind: "node", handler }));
  await refused("runtime.json", NO_FLAGS, (json) => open({ kind: "node", handler: "a:b", json }));
  await refused("runtime.preload", ["json", [1]], (preload) => open({ kind: "python", preload }));
  await refused("runtime.args", [["x"]], (args) => open({ kind: "python", args }));
});

test("options of a get", async () => {
  const { pool, mock } = await mockSet();
  const get = (option: string) => (value: never) => pool.getOrCreateUnpaused({ [option]: value });
  await refused("timeoutMs", NO_TIMES, get("timeoutMs"));
  await refused("noWait", NO_FLAGS, get("noWait"));
  await refused("acquire", [...NO_TEXTS, "reuse"], get("acquire"));
  await refused("signal", [...NO_OBJECTS, {}, new AbortController()], get("signal"));
  await refused("timeout", [1], get("timeout"));
  const bind = (option: string) => (value: never) => pool.getOrCreateUnpaused({ binding: { [option]: value } });
  await refused("binding", NO_OBJECTS, get("binding"));
  await refused("binding.env", [...NO_OBJECTS, { A: 1 }], bind("env"));
  await refused("binding.secrets", [...NO_OBJECTS, { token: "text" }, { "a/b": Buffer.from("x") }], bind("secrets"));
  await refused("binding.files", ["x", [1], [{}], [{ path: "a" }], [{ path: "/etc/x", data: "" }],
    [{ path: "a", data: 1 }], [{ path: "a", data: "", mode: 0o1777 }]], bind("files"));
  await refused("binding.binds", ["x", [{ source: "/usr", target: "/x", writable: true }]], bind("binds"));
  await refused("binding.limits", [...NO_OBJECTS, { scratchBytes: 1 }, { memoryBytes: 2 ** 40 }, { cpus: 0 }], bind("limits"));
  // What shows a secret must not be in what is said of it.
  const error = await failure(TypeError as never, bind("secrets")({ hushhush: "hushhush" } as never)) as Error;
  assert.ok(!error.message.includes("hushhush"));
  assert.equal(mock.calls("create"), 0);
  await pool.close();
});

test("arguments of a ref", async () => {
  const { pool, mock } = await mockSet();
  const sandbox = await pool.getOrCreateUnpaused();
  const exec = (option: string) => (value: never) => sandbox.exec(["x"], { [option]: value });
  await refused("args", [undefined, "ls -l", [], [""], [1], ["nul \0"], new Set(["x"]), ["x".repeat(1 << 17)]],
    (args) => sandbox.exec(args));
  await refused("env", [...NO_OBJECTS, { A: 1 }], exec("env"));
  await refused("cwd", [...NO_TEXTS, "relative", "/proc/self"], exec("cwd"));
  await refused("stdin", [1, true, null, {}, "text", "stream"], exec("stdin"));
  await refused("stdin", ["text", 1], (stdin) => sandbox.spawn(["x"], { stdin }));
  await refused("timeoutMs", [...NO_TIMES, 0], exec("timeoutMs"));
  await refused("graceMs", NO_TIMES, exec("graceMs"));
  await refused("outputBytes", [...NO_COUNTS, 2 ** 40], exec("outputBytes"));
  await refused("onOverflow", [...NO_TEXTS, "drop"], exec("onOverflow"));
  await refused("memoryBytes", [...NO_COUNTS, 1], exec("memoryBytes"));
  await refused("cpuSeconds", [...NO_COUNTS, 0], exec("cpuSeconds"));
  await refused("signal", [{}], exec("signal"));
  await refused("request", [1, null, {}], (request) => sandbox.call(request));
  await refused("value", [undefined, () => 1], (value) => sandbox.callJson(value));
  await refused("path", [1, null, "", "a\0b", "../up"], (path) => sandbox.readFile(path));
  await refused("maxBytes", NO_COUNTS, (maxBytes) => sandbox.readFile("a", { maxBytes }));
  await refused("data", [1, null], (data) => sandbox.writeFile("a", data));
  await refused("mode", [...NO_COUNTS, 0o1000], (mode) => sandbox.writeFile("a", "", { mode }));
  await refused("maxEntries", NO_COUNTS, (maxEntries) => sandbox.listDir(".", { maxEntries }));
  await refused("reason", NO_TEXTS, (reason) => sandbox.destroy(reason));
  await refused("reason", NO_TEXTS, async (reason) => sandbox.taint(reason));
  await refused("body", NO_OBJECTS, (body) => pool.use(body));
  assert.equal(mock.calls("exec"), 0);
  // A mistake of the caller's does not taint the sandbox.
  await sandbox.put();
  assert.equal(pool.stats().idle, 1);
  await refused("count", [...NO_COUNTS, 9], (count) => pool.prewarm(count));
  await refused("keep", NO_COUNTS, (keep) => pool.shrink(keep));
  await refused("deadlineMs", NO_TIMES, (deadlineMs) => pool.close({ deadlineMs }));
  await refused("capacity", [...NO_COUNTS, 0, 2 ** 30], async (capacity) => pool.events({ capacity }));
  await pool.close();
});

test("names and contents may be bytes", async () => {
  await using pool = (await mockSet()).pool;
  await using sandbox = await pool.getOrCreateUnpaused();
  const name = Buffer.from([0x66, 0xff]);
  await sandbox.writeFile(name, new Uint8Array([1, 2, 3]));
  const [entry] = await sandbox.listDir();
  assert.deepEqual([entry?.name, entry?.nameBytes, entry?.kind], ["f\ufffd", name, "file"]);
  assert.deepEqual(await sandbox.readFile(name), Buffer.from([1, 2, 3]));
  await failure(TooBigError, sandbox.readFile(name, { maxBytes: 2 }));
  assert.deepEqual((await sandbox.exec([name, Buffer.from("b")])).stdoutBytes, Buffer.from([0x66, 0xff, 0x20, 0x62, 0x0a]));
});

test("what tests script", async () => {
  const mock = new MockBackend();
  await refused("operation", [...NO_TEXTS, "sleep"], (operation) => mock.faultAlways(operation));
  await refused("nth", [...NO_COUNTS, 0], (nth) => mock.faultAt("exec", nth, MockFault.die()));
  await refused("fault", [...NO_OBJECTS, {}], (fault) => mock.faultAt("exec", 1, fault));
  await refused("cause", NO_TEXTS, (cause) => MockFault.fail(cause));
  await refused("delayMs", NO_TIMES, (delay) => MockFault.delay(delay));
  await refused("byMs", NO_TIMES, (by) => new ManualClock().advance(by));
  await refused("shells", [...NO_COUNTS, 1025], (shells) => new LinuxBackend({ shells }));
  await refused("keeper", NO_TEXTS, (keeper) => new LinuxBackend({ keeper }));
  await refused("functions", [1, [1], [{}], [{ name: "f", imports: "x" }], [{ name: "f", imports: [], weight: "1" }]],
    (functions) => proposeTree(functions, []));
  await refused("packages", [1, [1], [{}], [{ name: "p" }], [{ name: "p", importTimeMs: -1 }]],
    (packages) => proposeTree([], packages));
});
