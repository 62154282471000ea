// An endpoint that runs other people's code: POST the code, get JSON with what it wrote and how it ended.
//
//   node server.mjs [PORT]
//   curl --data-binary 'print(6 * 7)' 'localhost:8080/run?language=python'
//
// Every request has a sandbox of its own, which is destroyed afterwards and replaced by a fresh one ahead of the next
// request. When the client goes away, its code is killed.

import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { OverloadedError, SandboxSet, SandboxSetError, TimeoutError } from "sandboxset";

/** The program for each language, and the name of the file that it is given. */
const LANGUAGES = {
  sh: ["/bin/sh", "main.sh"],
  python: ["python3", "main.py"],
};
const MAX_CODE_BYTES = 64 << 10;

/** Starts the endpoint; code may run for `timeoutMs`. Its `close` ends the set too. */
export async function serve(port, timeoutMs = 2000) {
  const pool = await SandboxSet.open({
    maxSize: 4,
    minIdle: 1,
    maxWaiters: 64,
    reuse: "replace",
    limits: { memoryBytes: 64 << 20, pids: 32, scratchBytes: 8 << 20 },
  });
  const server = createServer((request, response) => {
    answer(pool, timeoutMs, request, response).catch((error) => {
      // Nothing that the code does ends here: this is a mistake of ours.
      process.emitWarning(error);
      response.destroy();
    });
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await pool.close();
  };
  return { pool, port: server.address().port, close };
}

async function answer(pool, timeoutMs, request, response) {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const { status, body } = await judge(pool, timeoutMs, request, gone.signal);
  if (!response.destroyed) {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(`${JSON.stringify(body)}\n`);
  }
}

async function judge(pool, timeoutMs, request, signal) {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  const [program, file] = LANGUAGES[searchParams.get("language") ?? "python"] ?? [];
  if (request.method !== "POST" || pathname !== "/run") {
    return refusal(404, "POST the code to /run");
  }
  if (program === undefined) {
    return refusal(400, `language: one of ${Object.keys(LANGUAGES).join(", ")}`);
  }
  try {
    const code = await read(request);
    return code === undefined
      ? refusal(413, `the code has more than ${MAX_CODE_BYTES} bytes`)
      : { status: 200, body: await run(pool, [program, file], code, { timeoutMs, signal }) };
  } catch (error) {
    if (signal.aborted) {
      return refusal(499, "the client went away");
    }
    if (error instanceof OverloadedError || error instanceof TimeoutError) {
      return refusal(503, "too many requests; try again later");
    }
    if (error instanceof SandboxSetError) {
      return refusal(500, error.message);
    }
    throw error;
  }
}

/** The body of a request, unless it is too long. */
async function read(request) {
  const pieces = [];
  let length = 0;
  for await (const piece of request) {
    length += piece.length;
    if (length > MAX_CODE_BYTES) {
      return undefined;
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function run(pool, args, code, ends) {
  return pool.use(async (sandbox) => {
    await sandbox.writeFile(args[1], code);
    const output = await sandbox.exec(args, { ...ends, graceMs: 0, outputBytes: 16 << 10 });
    return {
      outcome: output.outcome,
      exitCode: output.exitCode ?? null,
      signal: output.signal ?? null,
      stdout: output.stdout,
      stderr: output.stderr,
      truncated: output.truncated,
      cpuMs: Math.round(output.usage.cpuMs),
      peakMemoryBytes: output.usage.peakMemoryBytes,
    };
  }, { signal: ends.signal, timeoutMs: 10_000 });
}

function refusal(status, error) {
  return { status, body: { error } };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { port } = await serve(Number(process.argv[2] ?? 8080));
  console.log(`POST code to http://127.0.0.1:${port}/run?language=${Object.keys(LANGUAGES).join("|")}`);
}
