/** The handle of one holder. */

import { abortable, readSignal } from "./abort.js";
import { content, count, count32, millis, name, optional, options, text, wrongType } from "./checks.js";
import type { Name } from "./checks.js";
import { approve, readCommand } from "./command.js";
import type { CommandPolicy, ExecOptions, NativeCommand, SpawnOptions } from "./command.js";
import { Connection } from "./connection.js";
import { StaleRefError } from "./errors.js";
import type { Phase } from "./errors.js";
import { promise } from "./native.js";
import type { NativeConnection, NativeLease, NativeProcess } from "./native.js";
import { Process } from "./process.js";
import { Output } from "./reports.js";
import type { DirEntry, NativeOutput, Usage } from "./reports.js";

/** How long a call may take, and when it is to end early. */
export interface CallOptions {
  /** Default 30 000. */
  timeoutMs?: number;
  /** Abandons the call with an `AbortError`; the sandbox will not be used again. */
  signal?: AbortSignal;
}

/** How long a call to the runtime, or connecting to it, may take by default. */
const CALL_TIMEOUT = 30_000;
/** The largest file read by default; the size of a default scratch dir. */
const READ_BYTES = 64 << 20;
/** The most entries listed by default; as many as a default scratch dir can hold. */
const LIST_ENTRIES = 4096;
/** How much of a runtime's log is read by default. */
const LOG_BYTES = 64 << 10;
const FILE_MODE = 0o644;

/**
 * A place for one sandbox in the native module. It is used again after a put. It is collected with the ref that has it,
 * so that a forgotten ref is noticed without any work for each get. @internal
 */
export class Place {
  /** What it does at every get and put. */
  readonly beginGet: () => number;
  readonly put: () => number;
  #id = 0;
  #scratchDirs: ScratchDirs = { inside: "", onHost: undefined };

  constructor(
    readonly lease: NativeLease,
    /** Where it goes after a put. */
    readonly home: Place[],
    readonly policy: CommandPolicy | undefined,
  ) {
    this.beginGet = lease.beginGetFunction();
    this.put = lease.putFunction();
    forgotten.register(this, lease);
  }

  /** The scratch dirs of the sandbox that is held now, remembered as long as it is the same one. */
  scratchDirs(id: number): ScratchDirs {
    if (this.#id !== id) {
      this.#scratchDirs = { inside: this.lease.scratchDir, onHost: this.lease.hostScratchDir ?? undefined };
      this.#id = id;
    }
    return this.#scratchDirs;
  }
}

interface ScratchDirs {
  readonly inside: string;
  readonly onHost: string | undefined;
}

const forgotten = new FinalizationRegistry((lease: NativeLease) => {
  const id = lease.abandon();
  if (id > 0) {
    process.emitWarning(`sandbox ${id} was neither put nor destroyed; it was destroyed now`, {
      type: "SandboxSetWarning",
      code: "SANDBOXSET_FORGOTTEN_REF",
    });
  }
});

/**
 * One caller's hold on one sandbox, from a get until `put` or `destroy`, exactly once.
 *
 * With `await using` it is put at the end of the block, unless that was done in it; JavaScript does not tell whether an
 * error left the block, so use `SandboxSet.use` where that should destroy it. A sandbox in which an operation failed,
 * timed out or was aborted is never used again, however it is put. A ref that is forgotten and collected is destroyed,
 * with a warning.
 */
export class SandboxRef implements AsyncDisposable {
  /** Nothing once it was put or destroyed. */
  #place: Place | undefined;
  #id: number;
  #uses = 0;
  #scratchDirs: ScratchDirs | undefined;
  /** How it was ended. */
  #end = "";
  #connections: Set<Connection> | undefined;

  /** @internal */
  constructor(place: Place, id: number) {
    this.#place = place;
    this.#id = id;
  }

  /**
   * Gives the sandbox back, paused and idle, or straight to the oldest waiter.
   *
   * One that cannot be reused is destroyed instead, without an error. The promise is fulfilled when the sandbox can be
   * had again; nobody has to wait for that. A second put is a `StaleRefError`.
   */
  async put(): Promise<void> {
    const place = this.#take("the ref was put");
    const { lease } = place;
    const uses = place.put();
    if (uses > 0) {
      this.#uses = uses;
    } else {
      this.#uses = lease.uses;
      await promise((done) => lease.putLater(done));
    }
    place.home.push(place);
  }

  /** Ends the sandbox; the reason is kept and shown by any later call. Does not wait for the teardown. */
  async destroy(reason = "destroyed by its holder"): Promise<void> {
    text("reason", reason);
    const place = this.#take(`the ref was destroyed: ${reason}`, "destroy");
    this.#uses = place.lease.destroy(reason);
    place.home.push(place);
  }

  /** Marks the sandbox as not reusable: its put will destroy it. Afterwards it changes nothing. */
  taint(reason: string): void {
    text("reason", reason);
    this.#place?.lease.taint(reason);
  }

  /**
   * Runs a command to its end; how it ended is in the output, not an error.
   *
   * `args` is the program and its arguments, never a shell.
   */
  async exec(args: readonly Name[], given?: ExecOptions): Promise<Output> {
    const { command, signal } = readCommand(args, given, false);
    const approved = await this.#approve(command);
    const output = await abortable(signal, "exec", (token) =>
      promise<NativeOutput>((done) => this.#lease("exec").exec(approved, token, this.#keep(done))));
    return new Output(output);
  }

  /** Starts a command; as `exec`, but with `stdin: "stream"` it reads what is written to `Process.stdin`. */
  async spawn(args: readonly Name[], given?: SpawnOptions): Promise<Process> {
    const { command, signal } = readCommand(args, given, true);
    const approved = await this.#approve(command);
    const process = await abortable(signal, "exec", (token) =>
      promise<NativeProcess>((done) => this.#lease("exec").spawn(approved, token, this.#keep(done))));
    return new Process(process, approved.stdin === true, signal);
  }

  /** Opens a stream to the runtime's socket. */
  async connect(given?: CallOptions): Promise<Connection> {
    const { timeout, signal } = readCall(given);
    const opened = await abortable(signal, "connect", (token) =>
      promise<NativeConnection>((done) => this.#lease("connect").connect(timeout, token, this.#keep(done))));
    const connection = new Connection(opened);
    const open = (this.#connections ??= new Set());
    open.add(connection);
    connection.once("close", () => open.delete(connection));
    if (this.#place === undefined) {
      connection.destroy();
    }
    return connection;
  }

  /** Sends one request to the runtime and returns its answer; text is encoded as UTF-8. */
  async call(request: Uint8Array | string, given?: CallOptions): Promise<Buffer> {
    const data = content("request", request);
    const { timeout, signal } = readCall(given);
    return abortable(signal, "connect", (token) =>
      promise<Buffer>((done) => this.#lease("connect").call(data, timeout, token, this.#keep(done))));
  }

  /** Sends a value as JSON to the runtime and returns its answer, which must be JSON too. */
  async callJson(value: unknown, given?: CallOptions): Promise<unknown> {
    const request = JSON.stringify(value) as string | undefined;
    if (request === undefined) {
      throw wrongType("value", "what can be sent as JSON", value);
    }
    return JSON.parse((await this.call(request, given)).toString()) as unknown;
  }

  /**
   * Reads a regular file of at most `maxBytes` (64 MiB); a larger one is a `TooBigError`.
   *
   * The path is absolute in the sandbox, or relative to its scratch dir. The host follows no link planted inside.
   */
  async readFile(path: Name, given?: { maxBytes?: number }): Promise<Buffer> {
    const { maxBytes } = options("options", given, ["maxBytes"]);
    const most = optional("maxBytes", maxBytes, count) ?? READ_BYTES;
    const file = name("path", path);
    return promise((done) => this.#lease("files").readFile(file, most, this.#keep(done)));
  }

  /** Creates or replaces a regular file, whole or not at all, with these permission bits (`0o644`). */
  async writeFile(path: Name, data: Uint8Array | string, given?: { mode?: number }): Promise<void> {
    const bits = optional("mode", options("options", given, ["mode"]).mode, count32) ?? FILE_MODE;
    const [file, held] = [name("path", path), content("data", data)];
    await promise((done) => this.#lease("files").writeFile(file, held, bits, this.#keep(done)));
  }

  /** The entries of a directory, by default the scratch dir, sorted by name; more than `maxEntries` (4096) is a `TooBigError`. */
  async listDir(path: Name = ".", given?: { maxEntries?: number }): Promise<DirEntry[]> {
    const { maxEntries } = options("options", given, ["maxEntries"]);
    const most = optional("maxEntries", maxEntries, count) ?? LIST_ENTRIES;
    const dir = name("path", path);
    return promise((done) => this.#lease("files").listDir(dir, most, this.#keep(done)));
  }

  /** Removes a file or, with all it holds, a directory. */
  async remove(path: Name): Promise<void> {
    const file = name("path", path);
    await promise((done) => this.#lease("files").remove(file, this.#keep(done)));
  }

  /** What the sandbox uses now. */
  async usage(): Promise<Usage> {
    return promise((done) => this.#lease("use").usage(this.#keep(done)));
  }

  /** What the runtime wrote to its standard output and error, the last `maxBytes` (64 KiB) of it. */
  async log(given?: { maxBytes?: number }): Promise<Buffer> {
    const { maxBytes } = options("options", given, ["maxBytes"]);
    const most = optional("maxBytes", maxBytes, count) ?? LOG_BYTES;
    return promise((done) => this.#lease("use").log(most, this.#keep(done)));
  }

  /** The id of the sandbox; valid after put and destroy. */
  get id(): number {
    return this.#id;
  }

  /** What state the sandbox is in for this holder. */
  get state(): "held" | "dead" | "stale" {
    return this.#place?.lease.state ?? "stale";
  }

  /** How often the sandbox was handed out, this time included; valid after put and destroy. */
  get uses(): number {
    return this.#place?.lease.uses ?? this.#uses;
  }

  /** Whether an earlier holder used this sandbox; valid after put and destroy. */
  get reused(): boolean {
    return this.uses > 1;
  }

  /** The time since it became ready. */
  get ageMs(): number {
    return this.#lease("use").ageMs;
  }

  /** The scratch dir as the sandbox's own processes see it; valid after put and destroy, as the next one is. */
  get scratchDir(): string {
    return this.#dirs().inside;
  }

  /** The scratch dir on the host, if it is a directory of the host. */
  get hostScratchDir(): string | undefined {
    return this.#dirs().onHost;
  }

  /**
   * Lends the sandbox to a function, and ends it when the function is over: by a put, or, if the function throws or its
   * promise is rejected, by a destroy. One that was put or destroyed inside is left alone.
   */
  async use<T>(body: (sandbox: SandboxRef) => T | Promise<T>): Promise<T> {
    let result: T;
    try {
      result = await body(this);
    } catch (error) {
      const what = error instanceof Error ? error.name : "what was thrown";
      try {
        await this.destroy(`its holder was left by ${what}`);
      } catch (failure) {
        if (!(failure instanceof StaleRefError)) {
          throw new AggregateError([error, failure], "the holder failed, and so did the destroy");
        }
      }
      throw error;
    }
    await this[Symbol.asyncDispose]();
    return result;
  }

  /** Puts the sandbox, unless it was put or destroyed already. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#place === undefined) {
      return;
    }
    try {
      await this.put();
    } catch (error) {
      // The close of the set ended it meanwhile: nothing is left to do here.
      if (!(error instanceof StaleRefError)) {
        throw error;
      }
    }
  }

  /** The place, while the sandbox is held. */
  #lease(phase: Phase): NativeLease {
    if (this.#place === undefined) {
      throw this.#stale(phase);
    }
    return this.#place.lease;
  }

  #dirs(): ScratchDirs {
    return this.#scratchDirs ?? this.#place?.scratchDirs(this.#id) ?? { inside: "", onHost: undefined };
  }

  #take(end: string, phase: Phase = "use"): Place {
    const place = this.#place;
    if (place === undefined) {
      throw this.#stale(phase);
    }
    this.#scratchDirs = place.scratchDirs(this.#id);
    this.#place = undefined;
    this.#end = end;
    if (this.#connections !== undefined) {
      for (const connection of this.#connections) {
        connection.destroy();
      }
    }
    return place;
  }

  #stale(phase: Phase): StaleRefError {
    return new StaleRefError(this.#end, { phase, sandboxId: this.#id });
  }

  /** Keeps this ref, and so its sandbox, until the call has ended. */
  #keep(done: (answer: unknown) => void): (answer: unknown) => void {
    return (answer) => {
      void this.#id;
      done(answer);
    };
  }

  async #approve(command: NativeCommand): Promise<NativeCommand> {
    const place = this.#place;
    if (place === undefined) {
      throw this.#stale("exec");
    }
    return place.policy === undefined ? command : approve(place.policy, command);
  }
}

function readCall(given: unknown): { timeout: number; signal: AbortSignal | undefined } {
  const { timeoutMs, signal } = options("options", given, ["timeoutMs", "signal"]);
  return {
    timeout: optional("timeoutMs", timeoutMs, millis) ?? CALL_TIMEOUT,
    signal: optional("signal", signal, readSignal),
  };
}
