/** What commands, sets and hosts tell about themselves. */

import { native, promise } from "./native.js";

/** How a command ended. */
export type Outcome = "exited" | "signaled" | "timed_out" | "out_of_memory" | "output_limit";

/** What a command, or a whole sandbox, used. */
export interface Usage {
  /** From start to end. */
  readonly wallMs: number;
  /** CPU time, user and system together. */
  readonly cpuMs: number;
  /** Peak memory. For a command: the largest resident size of one process. */
  readonly peakMemoryBytes: number;
  /**
   * Memory now; zero for a command, which is over. What a sandbox is charged for: each page once, to the sandbox that
   * used it first, so that what a fork shares with its parent is the parent's.
   */
  readonly memoryBytes: number;
  /**
   * Memory now as the processes of a sandbox see it (the kernel's PSS): a page that several share counts for each of
   * them in part. Zero for a command, and where the kernel or the processes do not let us look.
   */
  readonly proportionalMemoryBytes: number;
  /** Processes and threads now; zero for a command. */
  readonly pids: number;
}

/** @internal */
export interface NativeOutput {
  outcome: Outcome;
  exitCode?: number;
  signal?: number;
  stdoutBytes: Buffer;
  stdoutHeadBytes: number;
  stdoutDroppedBytes: number;
  stderrBytes: Buffer;
  stderrHeadBytes: number;
  stderrDroppedBytes: number;
  usage: Usage;
}

/** How a command ended, what it wrote and what it used. */
export class Output {
  /** How it ended. */
  readonly outcome: Outcome;
  /** The exit code, if the command exited by itself. */
  readonly exitCode: number | undefined;
  /** The signal that ended the command, if one did. */
  readonly signal: number | undefined;
  /** Standard output as it was kept: all of it, or its head followed by its tail. */
  readonly stdoutBytes: Buffer;
  /** Standard error as it was kept: all of it, or its head followed by its tail. */
  readonly stderrBytes: Buffer;
  /** Where the tail begins in `stdoutBytes`, if something was dropped. */
  readonly stdoutHeadBytes: number;
  /** Where the tail begins in `stderrBytes`, if something was dropped. */
  readonly stderrHeadBytes: number;
  /** How many bytes were dropped between the head and the tail of standard output. */
  readonly stdoutDroppedBytes: number;
  /** How many bytes were dropped between the head and the tail of standard error. */
  readonly stderrDroppedBytes: number;
  /** What the command used. */
  readonly usage: Usage;

  /** @internal */
  constructor(output: NativeOutput) {
    this.outcome = output.outcome;
    this.exitCode = output.exitCode ?? undefined;
    this.signal = output.signal ?? undefined;
    this.stdoutBytes = output.stdoutBytes;
    this.stderrBytes = output.stderrBytes;
    this.stdoutHeadBytes = output.stdoutHeadBytes;
    this.stderrHeadBytes = output.stderrHeadBytes;
    this.stdoutDroppedBytes = output.stdoutDroppedBytes;
    this.stderrDroppedBytes = output.stderrDroppedBytes;
    this.usage = output.usage;
  }

  /** Whether the command exited with code 0. */
  get success(): boolean {
    return this.exitCode === 0;
  }

  /** Standard output as text, with invalid UTF-8 replaced. */
  get stdout(): string {
    return this.stdoutBytes.toString();
  }

  /** Standard error as text, with invalid UTF-8 replaced. */
  get stderr(): string {
    return this.stderrBytes.toString();
  }

  /** Whether anything of either stream was dropped. */
  get truncated(): boolean {
    return this.stdoutDroppedBytes > 0 || this.stderrDroppedBytes > 0;
  }
}

/** A consistent snapshot of a set's counters. */
export interface Stats {
  /** Sandboxes that wait for a holder. */
  readonly idle: number;
  /** Sandboxes with a holder. */
  readonly held: number;
  /** Creates in flight. */
  readonly creating: number;
  /** Sandboxes being unpaused. */
  readonly resuming: number;
  /** Sandboxes being reset or paused after a put. */
  readonly returning: number;
  /** Sandboxes being destroyed, and parents that are destroyed when their last child is gone. */
  readonly destroying: number;
  /** Sandboxes whose destroy failed; retried with back-off. */
  readonly quarantined: number;
  /** Callers waiting now. */
  readonly waiting: number;
  /** Gets that were served. */
  readonly gets: number;
  /** Gets served by a sandbox that was idle. */
  readonly hits: number;
  /** Gets that found no idle sandbox, by reason. */
  readonly misses: Readonly<Record<string, number>>;
  /** Gets that had to wait. */
  readonly waits: number;
  /** Gets that timed out. */
  readonly timeouts: number;
  /** Sandboxes created. */
  readonly created: number;
  /** Creates that failed. */
  readonly createFailures: number;
  /** Sandboxes put back. */
  readonly puts: number;
  /** Sandboxes that were reset after a put. */
  readonly resets: number;
  /** Resets that failed or were not verified; the sandbox was destroyed. */
  readonly resetFailures: number;
  /** Sandboxes of other sets that were forked from sandboxes of this one. */
  readonly forks: number;
  /** Forks of sandboxes of this set that failed. */
  readonly forkFailures: number;
  /** Sandboxes destroyed. */
  readonly destroyed: number;
  /** Sandboxes destroyed, by reason. */
  readonly destroyedBy: Readonly<Record<string, number>>;
}

/** What a close left behind. */
export interface CloseReport {
  /** How many sandboxes were destroyed during the close. */
  readonly destroyed: number;
  /** The sandboxes that could not be destroyed in time, each with its state and the reason. */
  readonly survivors: readonly string[];
}

/** One entry of a directory in a sandbox. */
export interface DirEntry {
  /** The name, which the sandbox chose, with invalid UTF-8 replaced. */
  readonly name: string;
  /** The name as it is. */
  readonly nameBytes: Buffer;
  readonly kind: "file" | "directory" | "symlink" | "other";
}

/** One layer of isolation. */
export interface Layer {
  /** Its short name, for example `seccomp`. */
  readonly name: string;
  /** What was reached. */
  readonly status: "active" | "degraded" | "missing";
  /** By what means, or why not. */
  readonly detail: string;
}

/** The layers of isolation of a backend and what was reached of each; as text it is a table. */
export class IsolationReport {
  /** One per layer, in a fixed order. */
  readonly layers: readonly Layer[];

  /** @internal */
  constructor(report: { layers: Layer[] }) {
    this.layers = report.layers;
  }

  /** The layer of this name, if there is one. */
  layer(name: string): Layer | undefined {
    return this.layers.find((layer) => layer.name === name);
  }

  toString(): string {
    const width = Math.max(0, ...this.layers.map((layer) => layer.name.length));
    return this.layers
      .map(({ name, status, detail }) => `${name.padEnd(width)}  ${status.padEnd(8)}  ${detail}`)
      .join("\n");
  }
}

/** One feature of the host. */
export interface Check {
  /** Its short name, for example `namespace.user`. */
  readonly name: string;
  /** Whether it can be used. */
  readonly status: "works" | "degraded" | "missing";
  /** By what means, or why not. */
  readonly detail: string;
  /** What to do about it; empty if there is nothing to do. */
  readonly fix: string;
}

/** What `doctor` found out; as text it is a table. */
export class Diagnosis {
  /** One per feature, in a fixed order. */
  readonly checks: readonly Check[];
  /** Whether a sandbox was made, used and destroyed. */
  readonly canMakeSandboxes: boolean;
  readonly #json: string;
  readonly #table: string;

  /** @internal */
  constructor(core: { checks: Check[]; canMakeSandboxes: boolean; json: string; table: string }) {
    this.checks = core.checks;
    this.canMakeSandboxes = core.canMakeSandboxes;
    this.#json = core.json;
    this.#table = core.table;
  }

  /** The check of this name, if there is one. */
  check(name: string): Check | undefined {
    return this.checks.find((check) => check.name === name);
  }

  /** What `JSON.stringify` shows: the same that the command line prints with `--json`. */
  toJSON(): unknown {
    return JSON.parse(this.#json);
  }

  toString(): string {
    return this.#table;
  }
}

/** Examines this host as this user: makes one sandbox and destroys it, and changes nothing. */
export async function doctor(): Promise<Diagnosis> {
  return new Diagnosis(await promise((done) => native.doctor(done)));
}

/** What `selfTest` found out. */
export interface SelfTest {
  /** Whether nothing escaped. */
  readonly passed: boolean;
  /** The report as text, and as JSON. */
  readonly table: string;
  readonly json: string;
}

/** Tries to break out of sandboxes on this host. Takes some seconds. */
export function selfTest(): Promise<SelfTest> {
  return promise((done) => native.selfTest(done));
}
