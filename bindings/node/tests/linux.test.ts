import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import {
  doctor, HandlerFailedError, PermissionDeniedError, SandboxSet, StaleRefError, TooBigError, UnsupportedError,
} from "sandboxset";
import { failure, noLinux, until } from "./support.js";

const skip = await noLinux();

test("how a command ended is in its output", { skip }, async () => {
  await using pool = await SandboxSet.open({ maxSize: 1, env: { FROM: "set" } });
  await using sandbox = await pool.getOrCreateUnpaused();
  const sh = (script: string, options = {}) => sandbox.exec(["/bin/sh", "-c", script], options);
  const out = await sh("echo $FROM $MINE; cat; pwd >&2; exit 3", { env: { MINE: "command" }, stdin: Buffer.from("ünï\n"), cwd: "/tmp" });
  assert.deepEqual([out.outcome, out.exitCode, out.signal, out.success], ["exited", 3, undefined, false]);
  assert.deepEqual([out.stdout, out.stderr], ["set command\nünï\n", "/tmp\n"]);
  assert.ok(out.usage.wallMs > 0 && out.usage.peakMemoryBytes > 0);
  const killed = await sh("kill -9 $$");
  assert.deepEqual([killed.outcome, killed.signal, killed.exitCode], ["signaled", 9, undefined]);
  const long = await sh("yes | head -c 100000; echo end", { outputBytes: 100 });
  assert.deepEqual([long.stdoutBytes.length, long.stdoutHeadBytes, long.truncated], [100, 50, true]);
  assert.equal(long.stdoutDroppedBytes, 99904);
  assert.ok(long.stdout.endsWith("end\n"));
  assert.equal((await sandbox.exec(["/bin/sh", "-c", "printf '\\377'"])).stdout, "\ufffd");
  assert.equal((await sh("yes", { outputBytes: 10, onOverflow: "kill" })).outcome, "output_limit");
  assert.equal((await sh("sleep 1000", { timeoutMs: 50, graceMs: 0 })).outcome, "timed_out");
});

test("a sandbox with a limit of memory runs out of it alone", { skip }, async () => {
  await using pool = await SandboxSet.open({ maxSize: 1, limits: { memoryBytes: 32 << 20, pids: 20 } });
  const layer = (await pool.isolationReport()).layer("memory");
  await using sandbox = await pool.getOrCreateUnpaused();
  const out = await sandbox.exec(["/bin/sh", "-c", "head -c 100000000 /dev/zero | tail"]);
  assert.notEqual(out.exitCode, 0, `the layer is ${String(layer?.status)}`);
  assert.ok(String(await pool.isolationReport()).includes("seccomp"));
});

test("a process has streams", { skip }, async () => {
  await using pool = await SandboxSet.open({ maxSize: 1 });
  await using sandbox = await pool.getOrCreateUnpaused();
  {
    await using process = await sandbox.spawn(["/bin/sh", "-c", "cat; echo done >&2"], { stdin: "stream" });
    assert.ok(process.stdin);
    process.stdin.write("one\n");
    process.stdin.end("two\n");
    const pieces: Buffer[] = [];
    for await (const piece of process) {
      pieces.push(piece);
    }
    assert.equal(Buffer.concat(pieces).toString(), "one\ntwo\n");
    const out = await process.wait();
    assert.deepEqual([out.exitCode, out.stdout, out.stderr], [0, "", "done\n"]);
  }
  // More than pipes and buffers hold, both ways at once.
  const big = await sandbox.spawn(["/bin/cat"], { stdin: "stream" });
  const sent = Buffer.alloc(3 << 20, "0123456789abcdef");
  big.stdin?.end(sent);
  const got: Buffer[] = [];
  for await (const piece of big.stdout) {
    got.push(piece as Buffer);
  }
  assert.ok(Buffer.concat(got).equals(sent));
  assert.equal((await big.wait()).exitCode, 0);
  const sleeper = await sandbox.spawn(["/bin/sleep", "1000"], { timeoutMs: 1e6 });
  assert.equal(sleeper.stdin, null);
  sleeper.signal("SIGTERM");
  assert.deepEqual([(await sleeper.wait()).outcome, (await sleeper.wait()).signal], ["signaled", 15]);
});

test("a put ends what still runs", { skip }, async () => {
  await using pool = await SandboxSet.open({ maxSize: 1 });
  const sandbox = await pool.getOrCreateUnpaused();
  const process = await sandbox.spawn(["/bin/sleep", "1000"], { timeoutMs: 1e6 });
  const reading = failure(Error as never, async () => {
    for await (const piece of process.stdout) {
      assert.fail(String(piece));
    }
    await process.wait();
  });
  await sandbox.put();
  await reading;
  await failure(StaleRefError, process.wait());
  await until("it is destroyed", () => pool.stats().destroyed === 1);
});

test("files go in and out", { skip }, async () => {
  await using pool = await SandboxSet.open({ maxSize: 1, limits: { scratchBytes: 1 << 20 } });
  await using sandbox = await pool.getOrCreateUnpaused();
  await sandbox.writeFile("script.sh", "#!/bin/sh\necho $(( 6 * 7 )) > answer\nmkdir dir\nln -s /etc/passwd link\n", { mode: 0o755 });
  assert.equal((await sandbox.exec(["./script.sh"])).exitCode, 0);
  assert.equal((await sandbox.readFile(`${sandbox.scratchDir}/answer`)).toString(), "42\n");
  const entries = (await sandbox.listDir()).map(({ name, kind }) => [name, kind]);
  assert.deepEqual(entries, [["answer", "file"], ["dir", "directory"], ["link", "symlink"], ["script.sh", "file"]]);
  await sandbox.remove("dir");
  await failure(TooBigError, sandbox.listDir(".", { maxEntries: 2 }));
  assert.equal((await sandbox.usage()).pids >= 1, true);
});

test("what is bound late is there, and is gone for the next holder", { skip }, async () => {
  await using pool = await SandboxSet.open({ maxSize: 1, reuse: "reset" });
  const binding = {
    env: { REQUEST: "42" },
    secrets: { token: Buffer.from("hush") },
    files: [{ path: "in/put.json", data: "{}" }],
    binds: [{ source: "/etc/hostname", target: "/mnt/name" }],
    limits: { pids: 30 },
  };
  const look = ["/bin/sh", "-c", "echo $REQUEST; cat /run/secrets/token in/put.json; test -s /mnt/name && echo bound"];
  const id = await pool.use(async (sandbox) => {
    assert.equal((await sandbox.exec(look)).stdout, "42\nhush{}bound\n");
    return sandbox.id;
  }, { binding });
  await pool.use(async (sandbox) => {
    assert.equal((await sandbox.exec(look)).stdout, "\n");
    assert.equal(sandbox.id, id);
  });
  assert.equal(pool.stats().resets >= 1, true);
});

test("a policy refuses and rewrites commands", { skip }, async () => {
  const seen: unknown[] = [];
  await using pool = await SandboxSet.open({
    maxSize: 1,
    commandPolicy: async (args, { env, cwd }) => {
      seen.push([args, { ...env }, cwd]);
      await new Promise(setImmediate);
      if (args[0] === "/bin/cat") {
        throw new Error("no cats");
      }
      return args[0] === "/bin/ls" ? ["/bin/echo", "instead"] : undefined;
    },
  });
  await using sandbox = await pool.getOrCreateUnpaused();
  const error = await failure(PermissionDeniedError, sandbox.exec(["/bin/cat"]));
  assert.match(error.message, /no cats/);
  assert.equal((await sandbox.exec(["/bin/ls"], { env: { A: "b" }, cwd: "/tmp" })).stdout, "instead\n");
  assert.equal((await sandbox.exec(["/bin/echo", "same"])).stdout, "same\n");
  assert.deepEqual(seen[1], [["/bin/ls"], { A: "b" }, "/tmp"]);
});

test("a Node runtime stays warm and answers calls", { skip }, async (context) => {
  const dir = mkdtempSync(join(tmpdir(), "sandboxset-node-"));
  context.after(() => rmSync(dir, { recursive: true }));
  // Sandboxes are users of their own.
  chmodSync(dir, 0o755);
  writeFileSync(join(dir, "app.js"), `
    let calls = 0;
    exports.handle = ({ number }) => {
      if (number < 0) throw new RangeError("too small");
      return { square: number * number, calls: ++calls };
    };`);
  const runtime = { kind: "node", handler: "app:handle", json: true } as const;
  await using pool = await SandboxSet.open({ maxSize: 1, codeDir: dir, runtime, limits: { memoryBytes: 1 << 30 } });
  await using sandbox = await pool.getOrCreateUnpaused();
  assert.deepEqual(await sandbox.callJson({ number: 7 }), { square: 49, calls: 1 });
  const error = await failure(HandlerFailedError, sandbox.callJson({ number: -1 }));
  assert.match(`${error.message} ${String(error.cause)}`, /too small/);
  assert.deepEqual(await sandbox.callJson({ number: 8 }), { square: 64, calls: 2 });
  assert.ok(Buffer.isBuffer(await sandbox.log()));

  // The same by hand, over a stream.
  const connection = await sandbox.connect();
  const request = Buffer.from(JSON.stringify({ number: 9 }));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(request.length);
  connection.write(Buffer.concat([length, request]));
  const answer: Buffer[] = [];
  for await (const piece of connection) {
    answer.push(piece as Buffer);
    const all = Buffer.concat(answer);
    if (all.length >= 4 && all.length === 4 + all.readUInt32LE(0)) {
      break;
    }
  }
  assert.deepEqual(JSON.parse(Buffer.concat(answer).subarray(4).toString()), { square: 81, calls: 3 });
  assert.equal(connection.destroyed, true);

  // An open stream ends with the ref, and keeps nobody waiting.
  const open = await sandbox.connect();
  open.resume();
  const closed = new Promise((resolve) => open.once("close", resolve));
  await sandbox.put();
  await closed;
});

test("Node cannot be forked, and says so", { skip }, async () => {
  await using parent = await SandboxSet.open({ runtime: { kind: "node", handler: "node:path:basename" } });
  await failure(UnsupportedError, SandboxSet.open({ parent }));
});

test("a set forks its sandboxes from a Python parent", { skip }, async () => {
  const preloaded = { kind: "python", preload: ["json"] } as const;
  await using parent = await SandboxSet.open({ maxSize: 1, runtime: preloaded });
  const runtime = { kind: "python", handler: "json:loads", json: false } as const;
  await using pool = await SandboxSet.open({ parent, runtime: { ...runtime, handler: "json:dumps", json: true } });
  await using sandbox = await pool.getOrCreateUnpaused();
  assert.equal(await sandbox.callJson([1, 2]), "[1, 2]");
  assert.equal(parent.stats().forks >= 1, true);
});

test("the doctor examines this host", { skip }, async () => {
  const diagnosis = await doctor();
  assert.equal(diagnosis.canMakeSandboxes, true);
  assert.equal(diagnosis.check("namespace.user")?.status, "works");
  assert.ok(String(diagnosis).includes("namespace.user"));
  assert.ok((JSON.parse(JSON.stringify(diagnosis)) as object) !== null);
});
