/** The native module: how it is found, and what it offers. Nothing of it is public. @internal */

import { createRequire } from "node:module";
import { fromNative, SandboxSetError } from "./errors.js";
import type { NativeError } from "./errors.js";

/** Called once with what became of a call. */
export type Done = (answer: unknown) => void;
export type Name = string | Uint8Array;

export interface CancelToken {
  cancel(): void;
}

export interface NativeLease {
  beginGetFunction(): () => number;
  get(options: object, cancel: CancelToken | undefined, done: Done): void;
  putFunction(): () => number;
  putLater(done: Done): void;
  destroy(reason: string): number;
  abandon(): number;
  taint(reason: string): void;
  exec(command: object, cancel: CancelToken | undefined, done: Done): void;
  spawn(command: object, cancel: CancelToken | undefined, done: Done): void;
  connect(timeout: number, cancel: CancelToken | undefined, done: Done): void;
  call(request: Uint8Array, timeout: number, cancel: CancelToken | undefined, done: Done): void;
  readFile(path: Name, maxBytes: number, done: Done): void;
  writeFile(path: Name, data: Uint8Array, mode: number, done: Done): void;
  listDir(path: Name, maxEntries: number, done: Done): void;
  remove(path: Name, done: Done): void;
  usage(done: Done): void;
  log(maxBytes: number, done: Done): void;
  readonly scratchDir: string;
  readonly hostScratchDir: string | null;
  readonly state: "held" | "dead" | "stale";
  readonly uses: number;
  readonly ageMs: number;
}

export interface NativeProcess {
  writeStdin(data: Uint8Array, timeout: number | undefined, done: Done): void;
  closeStdin(): void;
  read(stderr: boolean, maxBytes: number, timeout: number | undefined, done: Done): void;
  signal(signal: number): void;
  kill(): void;
  wait(timeout: number | undefined, cancel: CancelToken | undefined, done: Done): void;
}

export interface NativeConnection {
  read(maxBytes: number, done: Done): void;
  write(data: Uint8Array, done: Done): void;
  close(): void;
}

export interface NativeEvents {
  next(done: Done): void;
  end(): void;
}

export interface NativeSet {
  lease(): NativeLease;
  prewarm(count: number, timeout: number, done: Done): void;
  shrink(keep: number): number;
  drain(deadline: number, done: Done): void;
  close(deadline: number, done: Done): void;
  stats(): object;
  events(capacity: number): NativeEvents;
  isolationReport(done: Done): void;
}

export interface NativeMock {
  faultAt(operation: string, nth: number, fault: object): void;
  faultAlways(operation: string, fault: object | undefined): void;
  releaseHangs(): void;
  waitForHangs(operation: string, count: number, timeout: number, done: Done): void;
  calls(operation: string): number;
  readonly live: number;
  readonly mostLive: number;
  readonly paused: number;
}

export interface NativeClock {
  advance(by: number): void;
  readonly now: number;
  readonly scheduled: number;
}

interface NativeModule {
  version(): string;
  connect(makeError: (error: NativeError) => SandboxSetError, turn: () => void): void;
  drain(): void;
  errorTable(): { number: number; name: string; retryable: boolean }[];
  CancelToken: new () => CancelToken;
  LinuxBackend: new (options: object) => object;
  MockBackend: new () => NativeMock;
  ManualClock: new () => NativeClock;
  open(
    linux: object | undefined, mock: object | undefined, parent: object | undefined, clock: object | undefined,
    spec: object, config: object, done: Done,
  ): void;
  doctor(done: Done): void;
  selfTest(done: Done): void;
  proposeTree(functions: object[], packages: object[], options: object): object;
}

const require = createRequire(import.meta.url);

function load(): NativeModule {
  const platform = `${process.platform}-${process.arch}`;
  const file = `sandboxset.${platform}.node`;
  let found: NativeModule;
  try {
    found = require(`../native/${file}`) as NativeModule;
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const why = code === "MODULE_NOT_FOUND"
      ? `this package has no native module for ${platform}: native/${file} is missing. ` +
        "Install a package that was built for this platform, or build one from the sources with `make node-package`."
      : `the native module native/${file} cannot be loaded: ${(cause as Error).message}`;
    throw new Error(`sandboxset: ${why}`, { cause });
  }
  const { version } = require("../package.json") as { version: string };
  if (found.version() !== version) {
    throw new Error(`sandboxset: native/${file} is of version ${found.version()}, the package of ${version}. Install it anew.`);
  }
  return found;
}

export const native = load();
native.connect(fromNative, () => native.drain());

/** Makes a promise of a call. */
export function promise<T>(start: (done: Done) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((answer) => {
      if (answer instanceof SandboxSetError) {
        reject(answer);
      } else {
        resolve(answer as T);
      }
    });
  });
}
