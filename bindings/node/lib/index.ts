/**
 * A warm set of sandboxes for one function, inside your own process.
 *
 * @packageDocumentation
 */

export { LinuxBackend, ManualClock, MockBackend, MockFault } from "./backends.js";
export type { LinuxBackendOptions, MockOperation } from "./backends.js";
export type { CommandPolicy, ExecOptions, SpawnOptions } from "./command.js";
export type {
  Acquire, Bind, Environment, GetOptions, LateBinding, LateFile, LateLimits, LayerPolicy, Limits, Name, Reuse,
  SandboxSpec, SetConfig,
} from "./config.js";
export { Connection } from "./connection.js";
export {
  AbortError, BackendUnavailableError, CancelledError, CircuitOpenError, ClosedError, CreateFailedError,
  ExhaustedError, ForkedProcessError, ForkFailedError, HandlerFailedError, InternalError, InvalidArgumentError,
  InvalidStateError, NoCapacityError, OverloadedError, PermissionDeniedError, SandboxDeadError, SandboxSetError,
  StaleRefError, TimeoutError, TooBigError, UnsupportedError,
} from "./errors.js";
export type { ErrorDetails, Phase } from "./errors.js";
export { EventStream } from "./events.js";
export type { Event } from "./events.js";
export { Process } from "./process.js";
export { Diagnosis, doctor, IsolationReport, Output, selfTest } from "./reports.js";
export type { Check, CloseReport, DirEntry, Layer, Outcome, SelfTest, Stats, Usage } from "./reports.js";
export type { CommandRuntime, NodeRuntime, PythonRuntime, RuntimeOptions } from "./runtimes.js";
export { SandboxRef } from "./sandbox.js";
export type { CallOptions } from "./sandbox.js";
export { SandboxSet } from "./set.js";
export type { OpenOptions } from "./set.js";
export { proposeTree } from "./tree.js";
export type { FunctionImports, Package, TreeLimits, ZygoteNode, ZygoteTree } from "./tree.js";

import { native } from "./native.js";

/** The version of this package and of its native module. */
export const version: string = native.version();
