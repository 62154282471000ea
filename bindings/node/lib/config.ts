/** What a set is told about its sandboxes, and what a get is told. Times are milliseconds, sizes bytes. */

import {
  bytes, choice, content, count, count32, environment, finite, flag, hostPath, list, millis, name, optional,
  options, pairs, text, within,
} from "./checks.js";
import type { Name } from "./checks.js";
import type { RuntimeOptions } from "./runtimes.js";
import { readRuntime } from "./runtimes.js";

export type { Name } from "./checks.js";

/** Variables: names and values. */
export type Environment = Readonly<Record<string, Name>> | ReadonlyMap<string, Name>;

/** A file or directory of the host that is visible in every sandbox of a set. */
export interface Bind {
  /** A path on the host. */
  source: Name;
  /** An absolute path in the sandbox. */
  target: Name;
  /** Whether sandboxes may write to it. Sandboxes that share a writable bind are not isolated by it. Default `false`. */
  writable?: boolean;
}

/** Limits of one sandbox, all its processes together. */
export interface Limits {
  /** Memory, swap and what the kernel needs for the sandbox included; default 256 MiB. */
  memoryBytes?: number;
  /** Processes and threads; default 64. */
  pids?: number;
  /** CPU time per time, in cores (0.5 is half a core); default unlimited. */
  cpus?: number;
  /** Size of the scratch tmpfs; default 64 MiB. `/tmp` has a tmpfs of the same size. */
  scratchBytes?: number;
  /** Files and directories in the scratch tmpfs; default 4096. */
  scratchInodes?: number;
  /** Open files per process; default 1024. */
  openFiles?: number;
  /** The largest file a process may write; default left to the tmpfs size. */
  fileBytes?: number;
}

/** Limits for one holder, tighter than the set's or the same; a looser one is an error. */
export interface LateLimits {
  /** Memory, swap included. What the sandbox holds already counts. */
  memoryBytes?: number;
  /** Processes and threads. */
  pids?: number;
  /** CPU time per time, in cores. */
  cpus?: number;
}

/** A file that is written into the scratch dir before a sandbox is handed out. */
export interface LateFile {
  /** Relative to the scratch dir, or absolute and below it. Missing directories are made. */
  path: Name;
  /** What it holds; text is encoded as UTF-8. */
  data: Uint8Array | string;
  /** Its permission bits; default `0o644`. */
  mode?: number;
}

/**
 * What one holder gets on top of the set's recipe, from its get until its put.
 *
 * At the put the variables are forgotten and the limits are the set's again. The code in the sandbox may have copied
 * secrets, files and what is bound. So a sandbox that had any of them is used again only by a set with
 * `reuse: "reset"`, after it was verified that nothing is left; any other set destroys it at the put.
 */
export interface LateBinding {
  /** Variables of every command of this holder, on top of the set's and beneath the command's own. Not for secrets. */
  env?: Environment;
  /** Files of mode 0400 below `/run/secrets`, by name, in memory that is never swapped out. */
  secrets?: Readonly<Record<string, Uint8Array>> | ReadonlyMap<string, Uint8Array>;
  /** Files below the scratch dir. */
  files?: readonly LateFile[];
  /** Files or directories of the host, always read-only. */
  binds?: readonly Bind[];
  /** Limits that are tighter than the set's. */
  limits?: LateLimits;
}

/** How much a layer of isolation matters: see `isolationReport`. */
export type LayerPolicy = "required" | "best_effort" | "off";

/** The recipe of the sandboxes of a set. */
export interface SandboxSpec {
  /**
   * An unpacked image directory, or `oci:DIR:TAG` for an image in an OCI image layout, which is unpacked into the
   * backend's `imageCache` first; default the host's own `/usr`, `/bin`, `/lib*`, read-only.
   */
  root?: Name;
  /** A directory of the host that appears read-only at `/code`. */
  codeDir?: Name;
  /** Further files or directories of the host, in mount order. */
  binds?: readonly Bind[];
  /** The environment of every command, beneath the command's own; nothing of the host's is inherited. */
  env?: Environment;
  /** Limits of each sandbox. */
  limits?: Limits;
  /** A long-lived process in each sandbox that answers requests. */
  runtime?: RuntimeOptions;
  /** How much each layer of isolation matters, by the names of `isolationReport`; default best effort. */
  layers?: Readonly<Record<string, LayerPolicy>>;
}

/** What a put does first: see `OpenOptions.reuse`. */
export type Reuse = "keep" | "reset" | "replace";

/** How a set behaves. */
export interface SetConfig {
  /** Sandboxes at most, in whatever state; default 8. */
  maxSize?: number;
  /** Idle sandboxes that are kept ready; default 0. */
  minIdle?: number;
  /** Callers that may wait at once; default 1024. */
  maxWaiters?: number;
  /** How long a get waits unless told otherwise; default 30 000. */
  getTimeoutMs?: number;
  /** How long one create may take; default 60 000. */
  createTimeoutMs?: number;
  /**
   * `keep`, the default, leaves everything to the next holder; `reset` empties the sandbox in the background and
   * verifies from outside that it is as it was when fresh, and any doubt destroys it; `replace` destroys it, so that
   * every holder gets a fresh one, made ahead if `minIdle` says so.
   */
  reuse?: Reuse;
  /** Forks of one sandbox that may be in flight at once, if this set is a parent; default 8. */
  maxForks?: number;
  /** A directory of the host to make scratch dirs in; default a tmpfs for each sandbox. */
  scratchDirs?: Name;
}

/** Which sandboxes will do for a get. */
export type Acquire = "any" | "reuse_only" | "fresh_only";

/** Options of one get. */
export interface GetOptions {
  /** How long to wait, by default the set's `getTimeoutMs`; zero is one try. */
  timeoutMs?: number;
  /** Fail with `ExhaustedError` instead of waiting. */
  noWait?: boolean;
  /** Which sandboxes will do: `any`; `reuse_only`, one that exists already; `fresh_only`, one that nobody held. */
  acquire?: Acquire;
  /** Ends the wait with an `AbortError`. */
  signal?: AbortSignal;
  /** What this holder gets on top of the set's recipe; it is bound after the wait, within 5 seconds. */
  binding?: LateBinding;
}

/** The options of a recipe. @internal */
export const SPEC_OPTIONS = ["root", "codeDir", "binds", "env", "limits", "runtime", "layers"] as const;
/** The options of a behaviour. @internal */
export const CONFIG_OPTIONS = [
  "maxSize", "minIdle", "maxWaiters", "getTimeoutMs", "createTimeoutMs", "reuse", "maxForks", "scratchDirs",
] as const;

const REUSE = choice<Reuse>(["keep", "reset", "replace"]);
const POLICY = choice<LayerPolicy>(["required", "best_effort", "off"]);
const LIMITS = [
  "memoryBytes", "pids", "cpus", "scratchBytes", "scratchInodes", "openFiles", "fileBytes",
] as const;

/** @internal */
export function readSpec(given: Partial<Record<(typeof SPEC_OPTIONS)[number], unknown>>): object {
  return {
    root: optional("root", given.root, root),
    codeDir: optional("codeDir", given.codeDir, hostPath),
    binds: optional("binds", given.binds, list("an array of binds", bind)),
    env: optional("env", given.env, environment),
    limits: optional("limits", given.limits, limits(LIMITS)),
    runtime: optional("runtime", given.runtime, (field, value) => readRuntime(field, value, given.root !== undefined)),
    layers: optional("layers", given.layers, (field, value) =>
      pairs(field, value).flatMap(([layer, policy]) => [layer, POLICY(within(field, layer), policy)])),
  };
}

/** @internal */
export function readConfig(given: Partial<Record<(typeof CONFIG_OPTIONS)[number], unknown>>): object {
  return {
    maxSize: optional("maxSize", given.maxSize, count),
    minIdle: optional("minIdle", given.minIdle, count),
    maxWaiters: optional("maxWaiters", given.maxWaiters, count),
    getTimeout: optional("getTimeoutMs", given.getTimeoutMs, millis),
    createTimeout: optional("createTimeoutMs", given.createTimeoutMs, millis),
    reuse: optional("reuse", given.reuse, REUSE),
    maxForks: optional("maxForks", given.maxForks, count),
    scratchDirs: optional("scratchDirs", given.scratchDirs, hostPath),
  };
}

/** @internal */
export function readBinding(field: string, value: unknown): object {
  const given = options(field, value, ["env", "secrets", "files", "binds", "limits"]);
  const at = (key: keyof LateBinding): string => within(field, key);
  return {
    env: optional(at("env"), given.env, environment),
    // Messages say nothing of names, lest somebody swapped a name and its secret.
    secrets: optional(at("secrets"), given.secrets, (own, secrets) =>
      pairs(own, secrets).map(([key, data]) => ({ name: text(own, key), data: bytes(own, data) }))),
    files: optional(at("files"), given.files, list("an array of files", lateFile)),
    binds: optional(at("binds"), given.binds, list("an array of binds", bind)),
    limits: optional(at("limits"), given.limits, limits(["memoryBytes", "pids", "cpus"])),
  };
}

function root(field: string, value: unknown): Name {
  const given = name(field, value);
  if (typeof given !== "string" || !given.startsWith("oci:")) {
    return hostPath(field, given);
  }
  const [dir = "", ...tag] = given.slice("oci:".length).split(":");
  return ["oci", hostPath(field, dir), ...(tag.length === 0 ? [] : [tag.join(":")])].join(":");
}

function bind(field: string, value: unknown): object {
  const given = options(field, value, ["source", "target", "writable"]);
  return {
    source: hostPath(within(field, "source"), given.source),
    target: name(within(field, "target"), given.target),
    writable: optional(within(field, "writable"), given.writable, flag),
  };
}

function lateFile(field: string, value: unknown): object {
  const given = options(field, value, ["path", "data", "mode"]);
  return {
    path: name(within(field, "path"), given.path),
    data: content(within(field, "data"), given.data),
    mode: optional(within(field, "mode"), given.mode, count32),
  };
}

function limits(known: readonly (typeof LIMITS)[number][]): (field: string, value: unknown) => object {
  return (field, value) => {
    const given = options(field, value, known);
    const readers = { pids: count32, cpus: finite };
    return Object.fromEntries(known.map((key) => {
      const read = key === "pids" || key === "cpus" ? readers[key] : count;
      return [key, optional(within(field, key), given[key], read)];
    }));
  };
}
