import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import * as sandboxset from "sandboxset";
import { PROJECT } from "./support.js";

interface Line {
  number: number;
  name: string;
  retryable: boolean;
}

const { native } = (await import(String(pathToFileURL(`${PROJECT}/node_modules/sandboxset/dist/native.js`)))) as {
  native: { errorTable(): Line[] };
};
const { fromNative, optionName } = (await import(
  String(pathToFileURL(`${PROJECT}/node_modules/sandboxset/dist/errors.js`))
)) as { fromNative(error: object): sandboxset.SandboxSetError; optionName(name: string): string };

test("the errors are those of the one table", () => {
  const path = process.env["SANDBOXSET_ERRORS_JSON"];
  assert.ok(path, "the test run says where the table is");
  const table = JSON.parse(readFileSync(path, "utf8")) as { code: number; name: string; retryable: boolean }[];
  assert.ok(table.length >= 20);
  const lines = native.errorTable();
  assert.deepEqual(lines, table.map(({ code, name, retryable }) => ({ number: code, name, retryable })));
  for (const line of lines) {
    const error = fromNative({ ...line, message: "a message", phase: "exec", sandboxId: 7, cause: "because" });
    const className = `${line.name.toLowerCase().replace(/(^|_)([a-z])/g, (_, _bar, letter: string) => letter.toUpperCase())}Error`;
    assert.equal(error.name, className);
    assert.equal(error.constructor, (sandboxset as Record<string, unknown>)[className]);
    assert.deepEqual(
      [error.number, error.code, error.retryable, error.phase, error.sandboxId, (error.cause as Error).message],
      [line.number, `ERR_SANDBOXSET_${line.name}`, line.retryable, "exec", 7, "because"],
    );
    assert.ok(error instanceof sandboxset.SandboxSetError && error instanceof Error);
    const made = new (error.constructor as typeof sandboxset.TimeoutError)("by hand");
    assert.deepEqual([made.number, made.code, made.retryable], [error.number, error.code, error.retryable]);
  }
});

test("an aborted call is an AbortError as Node's own are", () => {
  const error = new sandboxset.AbortError("gone", { cause: "why" });
  assert.ok(error instanceof sandboxset.CancelledError);
  assert.deepEqual([error.name, error.code, error.number, error.cause], ["AbortError", "ABORT_ERR", 11, "why"]);
});

test("options are named as they are spelled here", () => {
  assert.equal(optionName("max_size"), "maxSize");
  assert.equal(optionName("runtime.ready_timeout"), "runtime.readyTimeoutMs");
  assert.equal(optionName("binding.limits.memory_bytes"), "binding.limits.memoryBytes");
  assert.equal(optionName("grace"), "graceMs");
});
