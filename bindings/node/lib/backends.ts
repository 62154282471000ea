/** The makers of sandboxes, and the clock for tests. */

import { choice, count, hostPath, invalid, millis, optional, options, text, wrongType } from "./checks.js";
import type { Name } from "./checks.js";
import { native, promise } from "./native.js";
import type { NativeClock, NativeMock } from "./native.js";

/** Options of a `LinuxBackend`. */
export interface LinuxBackendOptions {
  /** The keeper program to run instead of the embedded one. */
  keeper?: Name;
  /**
   * Where OCI images are unpacked, a directory of this user alone; default `$XDG_CACHE_HOME/sandboxset/oci` or
   * `~/.cache/sandboxset/oci`.
   */
  imageCache?: Name;
  /**
   * How many sandboxes, 1024 at most, are kept prepared for each spec once it was used, so that new ones take a
   * fraction of the time; default as many as were lately asked for at once. With 0 every create starts from nothing.
   */
  shells?: number;
}

/** Makes sandboxes of Linux namespaces and cgroups; needs no root and no daemon. */
export class LinuxBackend {
  readonly #native: object;

  constructor(given: LinuxBackendOptions = {}) {
    const { keeper, imageCache, shells } = options("options", given, ["keeper", "imageCache", "shells"]);
    this.#native = new native.LinuxBackend({
      keeper: optional("keeper", keeper, hostPath),
      imageCache: optional("imageCache", imageCache, hostPath),
      shells: optional("shells", shells, count),
    });
  }

  /** @internal */
  get _native(): object {
    return this.#native;
  }
}

/** An operation of a mock sandbox that a fault can be scripted for. */
export type MockOperation =
  | "create" | "pause" | "unpause" | "destroy" | "exec" | "death" | "connect" | "files" | "reset" | "fork" | "bind"
  | "unbind";

const OPERATION = choice<MockOperation>([
  "create", "pause", "unpause", "destroy", "exec", "death", "connect", "files", "reset", "fork", "bind", "unbind",
]);

/** What happens at a scripted call of a `MockBackend`. */
export class MockFault {
  readonly #native: object;

  private constructor(fault: { kind: "fail" | "hang" | "die" | "delay"; cause?: string; delay?: number }) {
    this.#native = fault;
  }

  /** The call fails with this cause. */
  static fail(cause: string): MockFault {
    return new MockFault({ kind: "fail", cause: text("cause", cause) });
  }

  /** The call blocks until `MockBackend.releaseHangs`. */
  static hang(): MockFault {
    return new MockFault({ kind: "hang" });
  }

  /** The sandbox dies, then the call fails. */
  static die(): MockFault {
    return new MockFault({ kind: "die" });
  }

  /** The call takes this many milliseconds, on the real clock. */
  static delay(delayMs: number): MockFault {
    return new MockFault({ kind: "delay", delay: millis("delayMs", delayMs) });
  }

  /** @internal */
  static _read(value: unknown): object {
    if (value instanceof MockFault) {
      return value.#native;
    }
    throw wrongType("fault", "a MockFault", value);
  }
}

/**
 * Makes sandboxes that exist only in memory, and fails, hangs or dies exactly when told to. For tests.
 *
 * A command answers its arguments, joined by spaces and followed by a newline, and exits with 0; a call to the runtime
 * answers the request; files live in memory.
 */
export class MockBackend {
  readonly #native: NativeMock = new native.MockBackend();

  /** Scripts a fault for the `nth` call of an operation, counted from 1 over all sandboxes of this backend. */
  faultAt(operation: MockOperation, nth: number, fault: MockFault): void {
    OPERATION("operation", operation);
    if (count("nth", nth) === 0) {
      throw invalid("nth", "calls are counted from 1");
    }
    this.#native.faultAt(operation, nth, MockFault._read(fault));
  }

  /** Scripts a fault for every call of an operation from now on; nothing ends it. */
  faultAlways(operation: MockOperation, fault?: MockFault): void {
    this.#native.faultAlways(OPERATION("operation", operation), fault === undefined ? undefined : MockFault._read(fault));
  }

  /** Lets every hanging call go on, now and later. */
  releaseHangs(): void {
    this.#native.releaseHangs();
  }

  /** Waits until at least `count` calls of an operation hang at once; `false` if they do not in time (30 000). */
  async waitForHangs(
    operation: MockOperation, calls: number, given: { timeoutMs?: number } = {},
  ): Promise<boolean> {
    const { timeoutMs } = options("options", given, ["timeoutMs"]);
    const timeout = optional("timeoutMs", timeoutMs, millis) ?? 30_000;
    OPERATION("operation", operation);
    count("count", calls);
    return promise((done) => this.#native.waitForHangs(operation, calls, timeout, done));
  }

  /** How often an operation was called. */
  calls(operation: MockOperation): number {
    return this.#native.calls(OPERATION("operation", operation));
  }

  /** How many of its sandboxes exist: created and not destroyed yet, dead ones included. */
  get live(): number {
    return this.#native.live;
  }

  /** The most of its sandboxes that ever existed at once. */
  get mostLive(): number {
    return this.#native.mostLive;
  }

  /** How many of its sandboxes exist and are paused. */
  get paused(): number {
    return this.#native.paused;
  }

  /** @internal */
  get _native(): NativeMock {
    return this.#native;
  }
}

/** A clock that only `advance` moves; for tests. */
export class ManualClock {
  readonly #native: NativeClock = new native.ManualClock();

  /** Moves the clock by this many milliseconds and runs everything whose deadline has come. */
  advance(byMs: number): void {
    this.#native.advance(millis("byMs", byMs));
  }

  /** How far it was advanced, in milliseconds. */
  get nowMs(): number {
    return this.#native.now;
  }

  /** How many timeouts and delays wait for this clock now. */
  get scheduled(): number {
    return this.#native.scheduled;
  }

  /** @internal */
  get _native(): NativeClock {
    return this.#native;
  }
}

/** @internal */
export function readClock(field: string, value: unknown): NativeClock {
  if (value instanceof ManualClock) {
    return value._native;
  }
  throw wrongType(field, "a ManualClock", value);
}
