/** What the tests share. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { LinuxBackend, MockBackend, SandboxSet, SandboxSetError } from "sandboxset";
import type { OpenOptions } from "sandboxset";

/** Longer than anything takes; only a hang reaches it. */
export const HANG_MS = 60_000;

/** The directory with this project, into which the package was installed. */
export const PROJECT = fileURLToPath(new URL("..", import.meta.url));

export async function mockSet(options: OpenOptions = {}): Promise<{ pool: SandboxSet; mock: MockBackend }> {
  const mock = new MockBackend();
  return { pool: await SandboxSet.open({ backend: mock, ...options }), mock };
}

let reason: Promise<string | false> | undefined;

/** Why no Linux sandbox can be made here, or `false`: for the option `skip` of tests. */
export function noLinux(): Promise<string | false> {
  reason ??= (async () => {
    await using pool = await SandboxSet.open({ backend: new LinuxBackend(), maxSize: 1 });
    try {
      await pool.use((sandbox) => sandbox.exec(["/bin/true"]));
      return false;
    } catch (error) {
      return `SKIPPED: no sandbox can be made here: ${String(error)}`;
    }
  })();
  return reason;
}

/** Checks that a call fails with an error of this package, and returns it. */
export async function failure<E extends SandboxSetError>(
  errorClass: abstract new (...args: never[]) => E, call: Promise<unknown> | (() => unknown),
): Promise<E> {
  try {
    await (typeof call === "function" ? call() : call);
  } catch (error) {
    assert.ok(error instanceof errorClass, `expected ${errorClass.name}, got ${String(error)}`);
    return error;
  }
  assert.fail(`expected ${errorClass.name}, but nothing was thrown`);
}

/** Turns the event loop until something is so. */
export async function until(what: string, is: () => boolean): Promise<void> {
  const end = Date.now() + HANG_MS;
  while (!is()) {
    assert.ok(Date.now() < end, `it never came to be: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Collects garbage until something is so. */
export async function collectedUntil(what: string, is: () => boolean): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  await until(what, () => {
    collect();
    return is();
  });
}

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Runs a program as another Node process, with the package at hand. */
export function runNode(program: string, args: string[] = []): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...args, "--input-type=module", "-e", program], {
      cwd: PROJECT,
      stdio: ["ignore", "pipe", "pipe"],
      timeout: HANG_MS,
      killSignal: "SIGKILL",
    });
    const said = { stdout: "", stderr: "" };
    child.stdout.on("data", (piece: Buffer) => (said.stdout += piece.toString()));
    child.stderr.on("data", (piece: Buffer) => (said.stderr += piece.toString()));
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, ...said }));
  });
}

/** The threads of this process, by name. */
export function threads(): string[] {
  return readdirSync("/proc/self/task").flatMap((task) => {
    try {
      return [readFileSync(`/proc/self/task/${task}/comm`, "utf8").trim()];
    } catch {
      // It ended meanwhile.
      return [];
    }
  });
}

/** Whether a command that sleeps so many seconds runs, in a sandbox of this host or outside. */
export function sleeping(seconds: number): boolean {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).some((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").endsWith(`sleep\0${seconds}\0`);
    } catch {
      // It ended meanwhile.
      return false;
    }
  });
}
