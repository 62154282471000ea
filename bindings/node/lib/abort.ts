/** Calls that an `AbortSignal` can end. @internal */

import { wrongType } from "./checks.js";
import { AbortError, CancelledError } from "./errors.js";
import type { Phase } from "./errors.js";
import { native } from "./native.js";
import type { CancelToken } from "./native.js";

export function readSignal(field: string, value: unknown): AbortSignal {
  if (value instanceof AbortSignal) {
    return value;
  }
  throw wrongType(field, "an AbortSignal", value);
}

/** The error of a call whose signal was aborted. */
export function aborted(signal: AbortSignal, phase: Phase, sandboxId?: number): AbortError {
  return new AbortError("the operation was aborted", { cause: signal.reason as unknown, phase, sandboxId });
}

/**
 * Makes a call that the signal can end: not at all if it is aborted already. The call has ended when its promise is
 * settled, so a command that was aborted is dead by then.
 */
export async function abortable<T>(
  signal: AbortSignal | undefined, phase: Phase, call: (token: CancelToken | undefined) => Promise<T>,
): Promise<T> {
  if (signal === undefined) {
    return call(undefined);
  }
  if (signal.aborted) {
    throw aborted(signal, phase);
  }
  const token = new native.CancelToken();
  const cancel = (): void => token.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return await call(token);
  } catch (error) {
    if (signal.aborted && error instanceof CancelledError) {
      throw aborted(signal, error.phase, error.sandboxId);
    }
    throw error;
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}
