/** Runtimes: long-lived processes in sandboxes that answer requests. Plain values; `SandboxSet.open` checks them. */

import { realpathSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname } from "node:path";
import { choice, environment, flag, hostPath, invalid, list, millis, name, names, optional, options, text, texts, within } from "./checks.js";
import type { Name } from "./checks.js";
import type { Environment } from "./config.js";

interface Common {
  /** Variables on top of the set's. */
  env?: Environment;
  /** How long it may take to become ready; default 30 000. */
  readyTimeoutMs?: number;
}

/**
 * A command that is started with the sandbox, lives as long as it, and answers requests.
 *
 * It listens on the stream socket that the variable `SANDBOXSET_SOCKET` names, then writes `READY\n` to file descriptor
 * 3, or `FAILED ` and why; only then is the sandbox handed out. `SandboxRef.call` frames requests and answers as a
 * 4-byte little-endian length followed by that many bytes; the highest bit of an answer's says that the request failed.
 */
export interface CommandRuntime extends Common {
  kind: "command";
  /** The program and its arguments; never a shell. */
  args: readonly Name[];
  /**
   * Whether it is a fork server, so that its sandboxes can be parents. In a set with a parent `args` are what each fork
   * is told, not a program that is started.
   */
  forks?: boolean;
  /** Files and directories of the host that it needs beside the root, visible read-only at the same paths. */
  brings?: readonly Name[];
}

/**
 * A Node process in each sandbox that answers calls with a function. It stays warm from call to call, but cannot be
 * forked, because Node has threads of its own: a set of them is no `parent`.
 *
 * By default it is the `node` that runs this program, brought in read-only; if the set has a `root` of its own, it is
 * the `node` of that. Where there is no memory cgroup, `limits.memoryBytes` bounds address space, of which Node 20
 * reserves more than the default of the limit before it begins; 1 GiB was enough.
 */
export interface NodeRuntime extends Common {
  kind: "node";
  /**
   * The function that answers, as `module:function`: a file of the `codeDir`, or a module that Node finds by itself. It
   * takes a `Buffer` and returns bytes or a string, or a promise of them. An exception in it is a `HandlerFailedError`
   * for the caller, and the runtime lives on.
   */
  handler: string;
  /** Whether the handler takes what `SandboxRef.callJson` sent, and returns what can be sent as JSON. */
  json?: boolean;
  /** The interpreter as the sandbox sees it, if it is one of the root file system. */
  interpreter?: Name;
}

/**
 * A Python process in each sandbox that answers calls with a function, or that is forked to make such processes.
 *
 * Without a handler it is a fork server: a set with it can be the `parent` of others, whose sandboxes then start with
 * all of `preload` imported. It is the `python3` of the root file system, CPython 3.9 or newer.
 */
export interface PythonRuntime extends Common {
  kind: "python";
  /** Modules that are imported before a sandbox is ready. Of a fork server none may start a thread. */
  preload?: readonly string[];
  /** The function that answers, as `module:function`. It takes bytes and returns bytes. */
  handler?: string;
  /** Whether the handler takes what `SandboxRef.callJson` sent, and returns what can be sent as JSON. */
  json?: boolean;
  /** Directories of the host with more modules, which sandboxes see read-only at the same paths. */
  paths?: readonly Name[];
  /** The interpreter as the sandbox sees it; default `python3`. */
  interpreter?: Name;
  /** Files and directories of the host that the interpreter needs beside the root, for example a virtual environment. */
  brings?: readonly Name[];
}

/** A long-lived process in each sandbox. */
export type RuntimeOptions = CommandRuntime | NodeRuntime | PythonRuntime;

const KIND = choice<RuntimeOptions["kind"]>(["command", "node", "python"]);
const COMMON = ["kind", "env", "readyTimeoutMs"] as const;

/** `ownRoot` is whether the sandboxes have another root than the host's. @internal */
export function readRuntime(field: string, value: unknown, ownRoot: boolean): object {
  if (typeof value !== "object" || value === null) {
    options(field, value ?? null, []);
  }
  const kind = KIND(within(field, "kind"), (value as Partial<RuntimeOptions>).kind);
  const at = (key: string): string => within(field, key);
  const common = (given: Partial<Record<keyof Common, unknown>>): object => ({
    kind,
    env: optional(at("env"), given.env, environment),
    readyTimeout: optional(at("readyTimeoutMs"), given.readyTimeoutMs, millis),
  });
  if (kind === "command") {
    const given = options(field, value, [...COMMON, "args", "forks", "brings"]);
    return {
      ...common(given),
      args: names(at("args"), given.args),
      forks: optional(at("forks"), given.forks, flag),
      brings: optional(at("brings"), given.brings, list("an array of paths", hostPath)),
    };
  }
  if (kind === "python") {
    const known = [...COMMON, "preload", "handler", "json", "paths", "interpreter", "brings"] as const;
    const given = options(field, value, known);
    return {
      ...common(given),
      preload: optional(at("preload"), given.preload, texts),
      handler: optional(at("handler"), given.handler, text),
      json: optional(at("json"), given.json, flag),
      paths: optional(at("paths"), given.paths, list("an array of paths", hostPath)),
      interpreter: optional(at("interpreter"), given.interpreter, name),
      brings: optional(at("brings"), given.brings, list("an array of paths", hostPath)),
    };
  }
  const given = options(field, value, [...COMMON, "handler", "json", "interpreter"]);
  const interpreter = optional(at("interpreter"), given.interpreter, name);
  return {
    ...common(given),
    handler: text(at("handler"), given.handler),
    json: optional(at("json"), given.json, flag),
    ...(interpreter === undefined && !ownRoot ? ownNode() : { interpreter }),
  };
}

/** The Node that runs this program, and what of the host it needs. */
function ownNode(): { interpreter: string; brings: string[] } {
  const interpreter = realpathSync(process.execPath);
  const dir = dirname(interpreter);
  const brought = basename(dir) === "bin" ? dirname(dir) : interpreter;
  const home = homedir();
  if (brought === "/" || home === brought || home.startsWith(`${brought}/`)) {
    throw invalid("interpreter", `it is installed in ${brought}, which holds more than sandboxes should see`);
  }
  return { interpreter, brings: [brought] };
}
