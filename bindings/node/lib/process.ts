/** A running command. */

import { constants } from "node:os";
import { Readable, Writable } from "node:stream";
import { abortable, readSignal } from "./abort.js";
import { choice, content, count, invalid, millis, optional, options } from "./checks.js";
import { SandboxDeadError, SandboxSetError, StaleRefError } from "./errors.js";
import { promise } from "./native.js";
import type { NativeProcess } from "./native.js";
import { Output } from "./reports.js";
import type { NativeOutput } from "./reports.js";

/** What a pipe holds. */
const PIECE_BYTES = 64 << 10;
const MAX_PIECE_BYTES = 1 << 30;
/** How long one read or write may take by default. */
const STREAM_TIMEOUT = 30_000;
const STREAM = choice<"stdout" | "stderr">(["stdout", "stderr"]);

/**
 * A command that was started with `SandboxRef.spawn`. Its streams are read only when they are used; what nobody reads
 * is in the output of `wait`, as that of `exec` is. A process that is forgotten and collected is killed.
 */
export class Process implements AsyncDisposable {
  readonly #native: NativeProcess;
  readonly #abort: { signal: AbortSignal; listener: () => void } | undefined;
  #stdin: Writable | null;
  #stdout: Readable | undefined;
  #stderr: Readable | undefined;

  /** @internal */
  constructor(native: NativeProcess, stdin: boolean, signal: AbortSignal | undefined) {
    this.#native = native;
    this.#stdin = stdin ? inputOf(native) : null;
    if (signal !== undefined) {
      const self = new WeakRef(this);
      const listener = (): void => {
        const process = self.deref();
        if (process !== undefined) {
          process.#end();
        }
      };
      signal.addEventListener("abort", listener, { once: true });
      this.#abort = { signal, listener };
      if (signal.aborted) {
        listener();
      }
    }
  }

  /** What the command reads, if it was started with `stdin: "stream"`. */
  get stdin(): Writable | null {
    return this.#stdin;
  }

  /** What the command writes to its standard output. */
  get stdout(): Readable {
    return (this.#stdout ??= this.#output(false));
  }

  /** What the command writes to its standard error. */
  get stderr(): Readable {
    return (this.#stderr ??= this.#output(true));
  }

  /** The pieces of standard output. */
  [Symbol.asyncIterator](): AsyncIterableIterator<Buffer> {
    return this.stdout[Symbol.asyncIterator]();
  }

  /**
   * Reads a piece of what the command wrote, of `maxBytes` (64 KiB) at most; empty at the end. For who wants no stream:
   * use the one or the other.
   */
  async read(
    given: { stream?: "stdout" | "stderr"; maxBytes?: number; timeoutMs?: number } = {},
  ): Promise<Buffer> {
    const { stream, maxBytes, timeoutMs } = options("options", given, ["stream", "maxBytes", "timeoutMs"]);
    const most = optional("maxBytes", maxBytes, count) ?? PIECE_BYTES;
    if (most === 0 || most > MAX_PIECE_BYTES) {
      throw invalid("maxBytes", `${most} is not between 1 and ${MAX_PIECE_BYTES}`);
    }
    const stderr = optional("stream", stream, STREAM) === "stderr";
    const timeout = optional("timeoutMs", timeoutMs, millis) ?? STREAM_TIMEOUT;
    return promise((done) => this.#native.read(stderr, most, timeout, done));
  }

  /** Writes all bytes to what the command reads; text is encoded as UTF-8. */
  async writeStdin(data: Uint8Array | string, given: { timeoutMs?: number } = {}): Promise<void> {
    const { timeoutMs } = options("options", given, ["timeoutMs"]);
    const timeout = optional("timeoutMs", timeoutMs, millis) ?? STREAM_TIMEOUT;
    const bytes = content("data", data);
    await promise((done) => this.#native.writeStdin(bytes, timeout, done));
  }

  /** Ends what the command reads. Idempotent. */
  closeStdin(): void {
    this.#native.closeStdin();
  }

  /** Waits for the end of the command. A timeout, or an abort, leaves it running. */
  async wait(given: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<Output> {
    const { timeoutMs, signal } = options("options", given, ["timeoutMs", "signal"]);
    const timeout = optional("timeoutMs", timeoutMs, millis);
    const output = await abortable(optional("signal", signal, readSignal), "exec", (token) =>
      promise<NativeOutput>((done) => this.#native.wait(timeout, token, done)));
    this.#abort?.signal.removeEventListener("abort", this.#abort.listener);
    return new Output(output);
  }

  /** Sends a signal, as a number from 1 to 64 or by its name, to the command's own process. */
  signal(signal: number | NodeJS.Signals): void {
    const number = typeof signal === "string" ? constants.signals[signal] : count("signal", signal);
    if (number === undefined || number > 64) {
      throw invalid("signal", `${signal} is none`);
    }
    this.#native.signal(number);
  }

  /** Kills every process of the command. Idempotent. */
  kill(): void {
    this.#native.kill();
  }

  /** Kills the command, if it still runs, and waits for its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#end();
    try {
      await this.wait();
    } catch (error) {
      if (!(error instanceof SandboxSetError)) {
        throw error;
      }
    }
  }

  #end(): void {
    try {
      this.#native.kill();
    } catch (error) {
      if (!(error instanceof StaleRefError || error instanceof SandboxDeadError)) {
        throw error;
      }
    }
  }

  #output(stderr: boolean): Readable {
    const native = this.#native;
    // The stream keeps the process, so that reading it is enough to keep the command.
    const owner = this;
    return new Readable({
      highWaterMark: PIECE_BYTES,
      read() {
        promise<Buffer>((done) => native.read(stderr, PIECE_BYTES, undefined, done)).then(
          (piece) => this.push(piece.length === 0 ? null : piece),
          (error: Error) => this.destroy(error),
        );
        void owner;
      },
    });
  }
}

function inputOf(native: NativeProcess): Writable {
  return new Writable({
    write(piece: Buffer, _encoding, done) {
      promise((answer) => native.writeStdin(piece, undefined, answer)).then(() => done(), done);
    },
    final(done) {
      try {
        native.closeStdin();
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
}
