/** A command, from what `exec` and `spawn` were given. */

import { readSignal } from "./abort.js";
import { bytes, choice, count, environment, invalid, millis, name, names, optional, options } from "./checks.js";
import type { Name } from "./checks.js";
import type { Environment } from "./config.js";
import { PermissionDeniedError, SandboxSetError } from "./errors.js";

/** Options of `SandboxRef.exec`. */
export interface ExecOptions {
  /** Variables on top of the set's. */
  env?: Environment;
  /** The working directory in the sandbox; default `/scratch`. */
  cwd?: Name;
  /** What the command reads; default nothing. */
  stdin?: Uint8Array;
  /** How long it may run; default 30 000. Afterwards TERM, `graceMs`, KILL of every process it started. */
  timeoutMs?: number;
  /** The time between TERM and KILL; default 200, zero is KILL at once. */
  graceMs?: number;
  /** Bytes kept of each output stream, half from the beginning, half from the end; default 1 MiB. */
  outputBytes?: number;
  /** What happens beyond `outputBytes`: the middle is dropped (`truncate`, the default), or the command is killed. */
  onOverflow?: "truncate" | "kill";
  /** Address space of each of its processes. */
  memoryBytes?: number;
  /** CPU time of each of its processes, in whole seconds. */
  cpuSeconds?: number;
  /** Kills the command; then the call is an `AbortError`, and the sandbox will not be used again. */
  signal?: AbortSignal;
}

/** Options of `SandboxRef.spawn`. */
export interface SpawnOptions extends Omit<ExecOptions, "stdin"> {
  /** What the command reads, or `stream` if it is written to `Process.stdin`. Default nothing. */
  stdin?: Uint8Array | "stream";
}

/**
 * Called before every command. It refuses by throwing, or by a promise that is rejected, which the caller sees as
 * `PermissionDeniedError` (an error of this package passes unchanged); it agrees by returning nothing, or returns
 * other arguments to run instead.
 */
export type CommandPolicy = (
  args: readonly Name[], surroundings: { env: Readonly<Record<string, Name>>; cwd: Name | undefined },
) => readonly Name[] | void | Promise<readonly Name[] | void>;

const OPTIONS = [
  "env", "cwd", "stdin", "timeoutMs", "graceMs", "outputBytes", "onOverflow", "memoryBytes", "cpuSeconds", "signal",
] as const;
const OVERFLOW = choice<"truncate" | "kill">(["truncate", "kill"]);

/** A command as the native module takes it. @internal */
export interface NativeCommand {
  args: Name[];
  env: Name[] | undefined;
  cwd: Name | undefined;
  stdin: Uint8Array | boolean | undefined;
}

/** @internal */
export function readCommand(
  args: unknown, value: unknown, streaming: boolean,
): { command: NativeCommand; signal: AbortSignal | undefined } {
  const given = options("options", value, OPTIONS);
  const command = {
    args: names("args", args),
    env: optional("env", given.env, environment),
    cwd: optional("cwd", given.cwd, name),
    stdin: optional("stdin", given.stdin, streaming ? streamOrBytes : onlyBytes),
    timeout: optional("timeoutMs", given.timeoutMs, millis),
    grace: optional("graceMs", given.graceMs, millis),
    outputBytes: optional("outputBytes", given.outputBytes, count),
    killOnOverflow: optional("onOverflow", given.onOverflow, OVERFLOW) === "kill",
    memoryBytes: optional("memoryBytes", given.memoryBytes, count),
    cpuSeconds: optional("cpuSeconds", given.cpuSeconds, count),
  };
  return { command, signal: optional("signal", given.signal, readSignal) };
}

/** The command as the policy wants it. @internal */
export async function approve(policy: CommandPolicy, command: NativeCommand): Promise<NativeCommand> {
  const env: Record<string, Name> = Object.create(null) as Record<string, Name>;
  const variables = command.env ?? [];
  for (let index = 0; index + 1 < variables.length; index += 2) {
    env[String(variables[index])] = variables[index + 1] ?? "";
  }
  let answer: unknown;
  try {
    answer = await policy([...command.args], { env, cwd: command.cwd });
  } catch (refusal) {
    if (refusal instanceof SandboxSetError) {
      throw refusal;
    }
    const text = refusal instanceof Error ? refusal.message : String(refusal);
    throw new PermissionDeniedError(`the command policy refused: ${text}`, { phase: "exec", cause: refusal });
  }
  return answer === undefined ? command : { ...command, args: names("commandPolicy's answer", answer) };
}

function onlyBytes(field: string, value: unknown): Uint8Array {
  if (value === "stream") {
    throw invalid(field, "can be a stream only for spawn");
  }
  return bytes(field, value);
}

function streamOrBytes(field: string, value: unknown): Uint8Array | boolean {
  if (typeof value !== "string") {
    return bytes(field, value);
  }
  if (value !== "stream") {
    throw invalid(field, 'is neither bytes nor "stream"');
  }
  return true;
}
