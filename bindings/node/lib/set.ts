/** The set. */

import { abortable, aborted, readSignal } from "./abort.js";
import { LinuxBackend, MockBackend, readClock } from "./backends.js";
import type { ManualClock } from "./backends.js";
import { choice, count, flag, millis, optional, options, wrongType } from "./checks.js";
import type { CommandPolicy } from "./command.js";
import { CONFIG_OPTIONS, readBinding, readConfig, readSpec, SPEC_OPTIONS } from "./config.js";
import type { Acquire, GetOptions, SandboxSpec, SetConfig } from "./config.js";
import { AbortError } from "./errors.js";
import { EventStream } from "./events.js";
import { native, promise } from "./native.js";
import type { NativeSet } from "./native.js";
import { IsolationReport } from "./reports.js";
import type { CloseReport, Layer, Stats } from "./reports.js";
import { Place, SandboxRef } from "./sandbox.js";

/** Everything that a set is told: the recipe of its sandboxes, how it behaves, and what makes them. */
export interface OpenOptions extends SandboxSpec, SetConfig {
  /** What makes the sandboxes; default that of the `parent`, else a `LinuxBackend`. */
  backend?: LinuxBackend | MockBackend;
  /**
   * The set whose sandboxes are forked to make those of this one, which then are never made otherwise. Many children
   * share a parent. One that is destroyed is torn down after its last child; one that dies takes its children with it.
   * Once the parent set drains or is closed, a create is a `ForkFailedError`.
   */
  parent?: SandboxSet;
  /** May refuse or rewrite every command. */
  commandPolicy?: CommandPolicy;
  /** Where time comes from, for tests. */
  clock?: ManualClock;
}

const ACQUIRE: readonly Acquire[] = ["any", "reuse_only", "fresh_only"];
const readAcquire = choice(ACQUIRE);
/** The default of every deadline of the set. */
const DEADLINE = 10_000;
const PREWARM_TIMEOUT = 60_000;
/** How many unread events a stream keeps by default. */
const EVENTS = 1024;

/**
 * All sandboxes of one function.
 *
 * An idle set keeps no process alive, and a set that is still open when the process ends is torn down with it, however
 * it ends. Times are milliseconds, sizes bytes. A wrong type is a `TypeError`, a wrong value an `InvalidArgumentError`;
 * both name the argument, and nothing was done then. Promises are rejected with them.
 */
export class SandboxSet implements AsyncDisposable {
  readonly #native: NativeSet;
  readonly #policy: CommandPolicy | undefined;
  /** Places that hold nothing now. */
  readonly #empty: Place[] = [];

  private constructor(set: NativeSet, policy: CommandPolicy | undefined) {
    this.#native = set;
    this.#policy = policy;
  }

  /** Makes a set; it makes no sandbox yet, unless `minIdle` asks for it. */
  static async open(given: OpenOptions = {}): Promise<SandboxSet> {
    const known = [...SPEC_OPTIONS, ...CONFIG_OPTIONS, "backend", "parent", "commandPolicy", "clock"] as const;
    const all = options("options", given, known);
    const { backend, parent, commandPolicy, clock } = all;
    if (!(backend === undefined || backend instanceof LinuxBackend || backend instanceof MockBackend)) {
      throw wrongType("backend", "a LinuxBackend or MockBackend", backend);
    }
    if (!(parent === undefined || parent instanceof SandboxSet)) {
      throw wrongType("parent", "a SandboxSet", parent);
    }
    if (!(commandPolicy === undefined || typeof commandPolicy === "function")) {
      throw wrongType("commandPolicy", "a function", commandPolicy);
    }
    const set = await promise<NativeSet>((done) =>
      native.open(
        backend instanceof LinuxBackend ? backend._native : undefined,
        backend instanceof MockBackend ? backend._native : undefined,
        parent === undefined ? undefined : parent.#native,
        optional("clock", clock, readClock),
        readSpec(all),
        readConfig(all),
        done,
      ));
    return new SandboxSet(set, commandPolicy as CommandPolicy | undefined);
  }

  /**
   * A running sandbox: the most recently used idle one, else a new one, else the first that comes free.
   *
   * Callers are served first come, first served, and none of them costs a thread.
   */
  async getOrCreateUnpaused(given?: GetOptions): Promise<SandboxRef> {
    const place = this.#empty.pop() ?? new Place(this.#native.lease(), this.#empty, this.#policy);
    if (given === undefined) {
      // Most gets do not have to wait. One that fails leaves its place to the collector.
      const id = place.beginGet();
      if (id > 0) {
        return new SandboxRef(place, id);
      }
    }
    return this.#get(place, given);
  }

  /** Gets a sandbox and lends it to a function: see `SandboxRef.use`. */
  async use<T>(body: (sandbox: SandboxRef) => T | Promise<T>, given?: GetOptions): Promise<T> {
    if (typeof body !== "function") {
      throw wrongType("body", "a function", body);
    }
    const sandbox = await this.getOrCreateUnpaused(given);
    return sandbox.use(body);
  }

  /**
   * Makes idle sandboxes until there are `count`, or until the set is full.
   *
   * Waits for them, at most `timeoutMs` (60 000), and answers how many are idle then.
   */
  async prewarm(wanted: number, given?: { timeoutMs?: number }): Promise<number> {
    const { timeoutMs } = options("options", given, ["timeoutMs"]);
    const timeout = optional("timeoutMs", timeoutMs, millis) ?? PREWARM_TIMEOUT;
    count("count", wanted);
    return promise((done) => this.#native.prewarm(wanted, timeout, done));
  }

  /** Destroys idle sandboxes, least recently used first, until `keep` are left; answers how many. */
  async shrink(keep: number): Promise<number> {
    return this.#native.shrink(count("keep", keep));
  }

  /** Stops admission and waits for holders, at most `deadlineMs` (10 000); then `TimeoutError`. Idempotent. */
  async drain(given?: { deadlineMs?: number }): Promise<void> {
    const deadline = readDeadline(given);
    await promise((done) => this.#native.drain(deadline, done));
  }

  /**
   * Ends the set: fails waiters with `ClosedError` and destroys what is idle.
   *
   * Held sandboxes are destroyed at their put, or at the deadline (10 000). Waits for the teardown and reports what
   * survived. Idempotent.
   */
  async close(given?: { deadlineMs?: number }): Promise<CloseReport> {
    const deadline = readDeadline(given);
    return promise((done) => this.#native.close(deadline, done));
  }

  /** A consistent snapshot of the counters. Works after close. */
  stats(): Stats {
    return this.#native.stats() as Stats;
  }

  /**
   * Subscribes to what happens from now on. At most `capacity` (1024) unread events are kept. The stream ends when the
   * set is closed, or when the signal is aborted.
   */
  events(given?: { capacity?: number; signal?: AbortSignal }): EventStream {
    const { capacity, signal } = options("options", given, ["capacity", "signal"]);
    const [kept, end] = [optional("capacity", capacity, count) ?? EVENTS, optional("signal", signal, readSignal)];
    return new EventStream(this.#native.events(kept), end);
  }

  /** What isolation the sandboxes of this set reach on this host. */
  async isolationReport(): Promise<IsolationReport> {
    return new IsolationReport(await promise<{ layers: Layer[] }>((done) => this.#native.isolationReport(done)));
  }

  /** Closes the set, within the default deadline. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #get(place: Place, given: GetOptions | undefined): Promise<SandboxRef> {
    const known = ["timeoutMs", "noWait", "acquire", "signal", "binding"] as const;
    try {
      const { timeoutMs, noWait, acquire, signal, binding } = options("options", given, known);
      const wanted = {
        timeout: optional("timeoutMs", timeoutMs, millis),
        noWait: optional("noWait", noWait, flag),
        acquire: ACQUIRE.indexOf(optional("acquire", acquire, readAcquire) ?? "any"),
        binding: optional("binding", binding, readBinding),
      };
      const end = optional("signal", signal, readSignal);
      const id = await abortable(end, "wait", (token) =>
        promise<number>((done) => place.lease.get(wanted, token, done)));
      if (end?.aborted === true) {
        // It came just before the abort, and nobody wants it any more.
        void new SandboxRef(place, id).put();
        throw aborted(end, "wait");
      }
      return new SandboxRef(place, id);
    } catch (error) {
      if (!(error instanceof AbortError)) {
        this.#empty.push(place);
      }
      throw error;
    }
  }
}

function readDeadline(given: unknown): number {
  return optional("deadlineMs", options("options", given, ["deadlineMs"]).deadlineMs, millis) ?? DEADLINE;
}
