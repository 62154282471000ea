/** The endpoint of the examples, with honest and hostile code. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import type { SandboxSet } from "sandboxset";
import { noLinux, PROJECT, sleeping, until } from "./support.js";

interface Served {
  pool: SandboxSet;
  port: number;
  close(): Promise<void>;
}

interface Answer {
  status: number;
  outcome?: string;
  exitCode?: number | null;
  stdout?: string;
  stderr?: string;
  truncated?: boolean;
  peakMemoryBytes?: number;
  error?: string;
}

const skip = await noLinux();
const { serve } = (await import(String(pathToFileURL(join(PROJECT, "examples/run_code/server.mjs"))))) as {
  serve(port: number, timeoutMs?: number): Promise<Served>;
};
let served: Served;

before(async () => {
  if (skip === false) {
    served = await serve(0);
  }
});
after(async () => {
  if (skip === false) {
    await served.close();
  }
});

async function post(code: string, language = "sh", signal?: AbortSignal, port = served.port): Promise<Answer> {
  const url = `http://127.0.0.1:${port}/run?language=${language}`;
  const response = await fetch(url, { method: "POST", body: code, signal: signal ?? null });
  return { status: response.status, ...((await response.json()) as object) };
}

test("honest code is answered", { skip }, async () => {
  const sh = await post("echo out; echo err >&2; exit 3");
  assert.deepEqual([sh.status, sh.outcome, sh.exitCode, sh.stdout, sh.stderr], [200, "exited", 3, "out\n", "err\n"]);
  const python = await post("print(6 * 7)", "python");
  assert.deepEqual([python.outcome, python.stdout], ["exited", "42\n"]);
});

test("what is no request is refused", { skip }, async () => {
  assert.equal((await post("x", "cobol")).status, 400);
  assert.equal((await post("x".repeat(70_000))).status, 413);
  assert.equal((await fetch(`http://127.0.0.1:${served.port}/etc/passwd`)).status, 404);
  assert.equal((await post("echo still here")).stdout, "still here\n");
});

test("hostile code harms nobody", { skip }, async () => {
  const attacks: [string, (answer: Answer) => boolean][] = [
    ["while :; do :; done", (answer) => answer.outcome === "timed_out"],
    ["yes", (answer) => answer.truncated === true || answer.outcome === "timed_out"],
    ["bomb() { bomb | bomb & }; bomb; sleep 100", (answer) => answer.outcome !== "exited" || answer.exitCode !== 0 || answer.stderr !== ""],
    ["head -c 1G /dev/zero | tail", (answer) => answer.exitCode !== 0],
    ["head -c 1G /dev/zero > big", (answer) => answer.exitCode !== 0],
    ["kill -9 -1", (answer) => answer.outcome !== undefined],
    ["touch /usr/x || touch /etc/x || cat /etc/shadow", (answer) => answer.exitCode !== 0],
    ["cat </dev/tcp/127.0.0.1/22 || getent hosts example.com", (answer) => answer.exitCode !== 0],
    ["\0\xff not a program", (answer) => answer.exitCode !== 0],
  ];
  const answers = await Promise.all(attacks.map(([code]) => post(code)));
  for (const [index, [code, holds]] of attacks.entries()) {
    const answer = answers[index];
    assert.ok(answer?.status === 200 && holds(answer), `${code}: ${JSON.stringify(answer)}`);
  }
  assert.equal((await post("echo still here; ls")).stdout, "still here\nmain.sh\n");
});

test("nothing of one request is left for the next", { skip }, async () => {
  await post("echo secret > /tmp/left; echo secret > left; (sleep 1000 &)");
  assert.equal((await post("cat /tmp/left left 2>/dev/null; ls")).stdout, "main.sh\n");
});

test("the code of a client that goes away is killed", { skip }, async () => {
  // Code may run for very long here, so that nothing else ends it.
  const patient = await serve(0, 3_600_000);
  try {
    const [controller, seconds] = [new AbortController(), 3000 + process.pid];
    const request = post(`sleep ${seconds}`, "sh", controller.signal, patient.port);
    request.catch(() => undefined);
    await until("it runs", () => sleeping(seconds));
    controller.abort();
    await assert.rejects(request, { name: "AbortError" });
    await until("it is gone", () => !sleeping(seconds));
    assert.equal((await post("echo still here", "sh", undefined, patient.port)).stdout, "still here\n");
  } finally {
    await patient.close();
  }
});
