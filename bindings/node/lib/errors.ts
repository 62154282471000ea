/**
 * The errors of this package: one base class and one class per code of the table that every language shares.
 *
 * A wrong *type* of an argument is a plain `TypeError` with the code `ERR_INVALID_ARG_TYPE`, as in Node's own modules;
 * everything else that a call refuses or fails at is a `SandboxSetError`.
 */

/** Where in a call an error arose. */
export type Phase =
  | "configure" | "wait" | "create" | "fork" | "pause" | "unpause" | "bind" | "use" | "exec" | "files" | "connect"
  | "destroy" | "close";

/** What an error says beside its message. */
export interface ErrorDetails {
  phase?: Phase;
  retryable?: boolean;
  sandboxId?: number;
  cause?: unknown;
  field?: string;
}

/** Base class of every error of this package. */
export class SandboxSetError extends Error {
  /** For example `ERR_SANDBOXSET_STALE_REF`; that of an aborted call is `ABORT_ERR`. */
  readonly code: string;
  /** The number of the error, the same in every language; numbers are never reused. */
  readonly number: number;
  /** Where in the call it arose. */
  readonly phase: Phase;
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
  /** The sandbox concerned, if one is. */
  readonly sandboxId: number | undefined;
  /** The argument at fault, for `ERR_SANDBOXSET_INVALID_ARGUMENT`. */
  readonly field: string | undefined;

  constructor(message = "", details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    const { number, word, retryable } = rowOf(new.target);
    this.code = `ERR_SANDBOXSET_${word}`;
    this.number = number;
    this.phase = details.phase ?? "use";
    this.retryable = details.retryable ?? retryable;
    this.sandboxId = details.sandboxId;
    this.field = details.field;
  }

  override get name(): string {
    return this.constructor.name;
  }
}

/** An argument or option is out of range, contradictory or malformed; `field` names it. */
export class InvalidArgumentError extends SandboxSetError {}
/** The call does not fit the state its object is in. */
export class InvalidStateError extends SandboxSetError {}
/** This backend, kernel or build cannot do what was asked. */
export class UnsupportedError extends SandboxSetError {}
/** The operating system, or a command policy, refused. */
export class PermissionDeniedError extends SandboxSetError {}
/** The deadline passed. */
export class TimeoutError extends SandboxSetError {}
/** The call was cancelled. */
export class CancelledError extends SandboxSetError {}
/** The set is draining or closed. */
export class ClosedError extends SandboxSetError {}
/** Nothing is idle and the caller asked not to wait, or to reuse only. */
export class ExhaustedError extends SandboxSetError {}
/** Too many callers are waiting already. */
export class OverloadedError extends SandboxSetError {}
/** The machine has no memory or count left for one more sandbox now. */
export class NoCapacityError extends SandboxSetError {}
/** The request could never fit the budget or a size limit. */
export class TooBigError extends SandboxSetError {}
/** A sandbox could not be made. */
export class CreateFailedError extends SandboxSetError {}
/** The sandbox died; `cause` says of what. */
export class SandboxDeadError extends SandboxSetError {}
/** The ref was already put or destroyed; nothing was changed. */
export class StaleRefError extends SandboxSetError {}
/** A parent could not be forked. */
export class ForkFailedError extends SandboxSetError {}
/** The backend itself (keeper, daemon) cannot be reached. */
export class BackendUnavailableError extends SandboxSetError {}
/** Creates failed repeatedly and are suspended for a while. */
export class CircuitOpenError extends SandboxSetError {}
/** What the runtime runs failed at a call; the runtime itself lives on. `cause` has the traceback. */
export class HandlerFailedError extends SandboxSetError {}
/** The calling process is a fork of the one that owns the set. */
export class ForkedProcessError extends SandboxSetError {}
/** A defect of this library. */
export class InternalError extends SandboxSetError {}

/**
 * The signal of a call was aborted. As in Node's own modules the name is `AbortError`, the code `ABORT_ERR`, and the
 * `cause` the signal's reason; it is a `CancelledError` too, with its number.
 */
export class AbortError extends CancelledError {
  override readonly code = "ABORT_ERR";
}

type ErrorClass = new (message?: string, details?: ErrorDetails) => SandboxSetError;

interface Row {
  number: number;
  word: string;
  retryable: boolean;
}

/** The table; a test compares it with that of every other language. */
const TABLE: readonly (readonly [ErrorClass, number, string, boolean])[] = [
  [InvalidArgumentError, 1, "INVALID_ARGUMENT", false],
  [InvalidStateError, 2, "INVALID_STATE", false],
  [UnsupportedError, 3, "UNSUPPORTED", false],
  [PermissionDeniedError, 4, "PERMISSION_DENIED", false],
  [TimeoutError, 10, "TIMEOUT", true],
  [CancelledError, 11, "CANCELLED", false],
  [ClosedError, 12, "CLOSED", false],
  [ExhaustedError, 13, "EXHAUSTED", true],
  [OverloadedError, 14, "OVERLOADED", true],
  [NoCapacityError, 15, "NO_CAPACITY", true],
  [TooBigError, 16, "TOO_BIG", false],
  [CreateFailedError, 20, "CREATE_FAILED", true],
  [SandboxDeadError, 21, "SANDBOX_DEAD", true],
  [StaleRefError, 22, "STALE_REF", false],
  [ForkFailedError, 23, "FORK_FAILED", true],
  [BackendUnavailableError, 24, "BACKEND_UNAVAILABLE", true],
  [CircuitOpenError, 25, "CIRCUIT_OPEN", true],
  [HandlerFailedError, 26, "HANDLER_FAILED", false],
  [ForkedProcessError, 30, "FORKED_PROCESS", false],
  [InternalError, 31, "INTERNAL", false],
];

const rows = new Map<unknown, Row>();
const classes = new Map<number, ErrorClass>();
for (const [errorClass, number, word, retryable] of TABLE) {
  rows.set(errorClass, { number, word, retryable });
  classes.set(number, errorClass);
}

/** The row of a class, or of the class that it extends. */
function rowOf(errorClass: unknown): Row {
  let candidate = errorClass;
  while (typeof candidate === "function") {
    const row = rows.get(candidate);
    if (row !== undefined) {
      return row;
    }
    candidate = Object.getPrototypeOf(candidate);
  }
  return { number: 0, word: "UNKNOWN", retryable: false };
}

/** What the native module says of an error. @internal */
export interface NativeError {
  number: number;
  name: string;
  message: string;
  phase: string;
  retryable: boolean;
  sandboxId?: number;
  cause?: string;
  field?: string;
}

/** The error for one of the native module. @internal */
export function fromNative(error: NativeError): SandboxSetError {
  const errorClass = classes.get(error.number) ?? InternalError;
  let { message, field } = error;
  if (field !== undefined) {
    const renamed = optionName(field);
    message = message.startsWith(`${field}:`) ? renamed + message.slice(field.length) : message;
    field = renamed;
  }
  return new errorClass(message, {
    phase: error.phase as Phase,
    retryable: error.retryable,
    sandboxId: error.sandboxId,
    cause: error.cause === undefined ? undefined : new Error(error.cause),
    field,
  });
}

/** Times, which say their unit here. */
const TIMES = new Set(["timeout", "grace", "deadline", "import_time"]);

/** The name of an option as it is spelled here: `runtime.ready_timeout` is `runtime.readyTimeoutMs`. @internal */
export function optionName(field: string): string {
  const name = (part: string): string => {
    const time = TIMES.has(part) || part.endsWith("_timeout");
    return part.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()) + (time ? "Ms" : "");
  };
  return field.split(".").map(name).join(".");
}
