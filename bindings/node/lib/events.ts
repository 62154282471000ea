/** What happened in a set, in order. */

import { promise } from "./native.js";
import type { NativeEvents } from "./native.js";

/** One thing that happened to one sandbox of a set. */
export interface Event {
  /** Counts every event of the set from 1 without gaps; a gap in what a stream delivers is a loss. */
  readonly sequence: number;
  readonly sandboxId: number;
  readonly kind: "create" | "unpause" | "pause" | "put" | "reset" | "fork" | "destroy" | "fault" | "lost";
  /** The reason of a destroy, the text of a fault, or what a reset verified from outside. */
  readonly reason?: string;
  /** The id of the sandbox that was forked from this one, if the kind is `fork`. */
  readonly childId?: number;
  /** How many events were dropped here, if the kind is `lost`. */
  readonly lost?: number;
}

/**
 * The events of one set from the moment of subscription; they end when the set is closed. A slow reader loses the oldest
 * and is told. Waiting for the next event keeps the process alive, as every call does that is under way.
 */
export class EventStream implements AsyncIterableIterator<Event>, AsyncDisposable {
  readonly #native: NativeEvents;
  readonly #abort: { signal: AbortSignal; listener: () => void } | undefined;
  /** Reads wait for each other. */
  #last: Promise<unknown> = Promise.resolve();
  #ended = false;

  /** @internal */
  constructor(native: NativeEvents, signal: AbortSignal | undefined) {
    this.#native = native;
    if (signal !== undefined) {
      const listener = (): void => this.#end();
      signal.addEventListener("abort", listener, { once: true });
      this.#abort = { signal, listener };
      if (signal.aborted) {
        this.#end();
      }
    }
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next event. */
  next(): Promise<IteratorResult<Event, undefined>> {
    const next = this.#last.then(async (): Promise<IteratorResult<Event, undefined>> => {
      const event = this.#ended ? null : await promise<Event | null>((done) => this.#native.next(done));
      if (event === null || event === undefined) {
        this.#end();
        return { done: true, value: undefined };
      }
      return { done: false, value: event };
    });
    this.#last = next.catch(() => undefined);
    return next;
  }

  /** Ends the subscription, as leaving a `for await` loop does. */
  return(): Promise<IteratorResult<Event, undefined>> {
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
  }

  #end(): void {
    if (!this.#ended) {
      this.#ended = true;
      this.#abort?.signal.removeEventListener("abort", this.#abort.listener);
      this.#native.end();
    }
  }
}
