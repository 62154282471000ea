/** What programs may write, and what the compiler refuses: this file is compiled against the installed package. */

import { test } from "node:test";
import { AbortError, MockBackend, SandboxSet, SandboxSetError, TimeoutError } from "sandboxset";
import type { CloseReport, LateBinding, OpenOptions, Output, RuntimeOptions } from "sandboxset";

/** Never called. */
export async function wellTyped(): Promise<void> {
  const options: OpenOptions = { maxSize: 8, limits: { memoryBytes: 1 << 28 }, env: { A: "b" }, reuse: "reset" };
  await using pool: SandboxSet = await SandboxSet.open(options);
  const binding: LateBinding = { secrets: { token: Buffer.from("x") } };
  await using sandbox = await pool.getOrCreateUnpaused({ timeoutMs: 1, signal: AbortSignal.timeout(1), binding });
  const output: Output = await sandbox.exec(["a"] as const, { stdin: Buffer.from("text") });
  const code: number | undefined = output.exitCode;
  const report: CloseReport = await pool.close({ deadlineMs: 1 });
  const answer: string = await pool.use((held) => held.scratchDir);
  const error: unknown = new TimeoutError("x");
  if (error instanceof SandboxSetError && !(error instanceof AbortError)) {
    const parts: [string, number, boolean] = [error.code, error.number, error.retryable];
    void parts;
  }
  void [code, report, answer, output.stdoutBytes.length];
  const runtime: RuntimeOptions = { kind: "python", preload: ["json"] };
  void runtime;

  // @ts-expect-error: there is no such option
  await SandboxSet.open({ maxsize: 8 });
  // @ts-expect-error: a number of milliseconds
  await pool.getOrCreateUnpaused({ timeoutMs: "1s" });
  // @ts-expect-error: never a shell
  await sandbox.exec("ls -l");
  // @ts-expect-error: a stream is only for spawn, where it is a word
  await sandbox.exec(["cat"], { stdin: true });
  // @ts-expect-error: it is read only
  output.exitCode = 0;
  // @ts-expect-error: sets are opened, because that may take a while
  new SandboxSet();
  // @ts-expect-error: not a fault
  new MockBackend().faultAt("create", 1, "fail");
  // @ts-expect-error: what is internal is not declared
  void new MockBackend()._native;
  // @ts-expect-error: a runtime that does not exist
  await SandboxSet.open({ runtime: { kind: "java" } });
}

test("programs are typed", () => {
  // The compiler has said so: a line that it should refuse and does not is an error, too.
});
