// The agent of Node for the conformance suite: it translates the lines of ../README.md into calls of the npm package.
//
// It is run from a project that has the package.

import { createInterface } from "node:readline";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { LinuxBackend, ManualClock, MockBackend, MockFault, SandboxSet, SandboxSetError } from "sandboxset";

/** Handles by kind and name. */
const handles = Object.fromEntries(
  ["backend", "set", "ref", "process", "connection", "events", "clock", "cancel"].map((kind) => [kind, new Map()]),
);
const background = new Map();

/** What this language cannot say; the text is in `gaps.json`. */
class Unsupported extends Error {}

function complain(what) {
  process.stderr.write(`agent.mjs: ${what}\n`);
  process.exit(1);
}

function handle(kind, request, name = request[kind]) {
  return handles[kind].get(name) ?? complain(`no ${kind} ${name}`);
}

/** The options of an object, spelled as they are here; what is absent is left away. */
function spelled(object, translations = {}) {
  const pairs = Object.entries(object ?? {}).filter(([, value]) => value !== null);
  return Object.fromEntries(pairs.map(([key, value]) => {
    const name = key.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
    return [name, (translations[key] ?? number)(value)];
  }));
}

/** Numbers that a double cannot hold come as digits, and those that are none as words. */
function number(value) {
  return typeof value === "string" && /^(\d+|nan|inf)$/.test(value)
    ? { nan: NaN, inf: Infinity }[value] ?? Number(value)
    : value;
}

const same = (value) => value;
const data = (text) => Buffer.from(text, "latin1");
const shown = (bytes) => bytes.toString("latin1");

function environment(pairs) {
  return new Map(unique(pairs));
}

function unique(pairs) {
  if (new Set(pairs.map(([key]) => key)).size < pairs.length) {
    throw new Unsupported("neither an object nor a Map of JavaScript has a key twice");
  }
  return pairs;
}

const binds = (all) => all.map((bind) => spelled(bind, { source: same, target: same }));
const limits = (values) => spelled(values);

function spec(value) {
  return spelled(value, {
    root: same,
    code_dir: same,
    binds,
    env: environment,
    limits,
    layers: same,
    runtime: (runtime) => ({ kind: "command", ...spelled(runtime, { args: same, env: environment }) }),
  });
}

function config(value) {
  return spelled(value, {
    scratch_dirs: same,
    reuse: same,
    parent: (name) => handle("set", {}, name),
    clock: (name) => handle("clock", {}, name),
  });
}

function binding(value) {
  return spelled(value, {
    env: environment,
    secrets: (pairs) => new Map(unique(pairs).map(([name, secret]) => [name, data(secret)])),
    files: (files) => files.map((file) => spelled(file, { path: same, data })),
    binds,
    limits,
  });
}

/** The options of a call: those of these names, and the signal of its cancel token. */
function options(request, ...names) {
  const given = Object.fromEntries(names.map((name) => [name, request[name] ?? null]));
  const all = spelled(given, { acquire: same, binding });
  return request.cancel ? { ...all, signal: handle("cancel", request).signal } : all;
}

function command({ args, ...value }) {
  const { cancel, ...rest } = value;
  const all = spelled(rest, {
    env: environment,
    cwd: same,
    stdin: (stdin) => (stdin.stream ? "stream" : data(stdin)),
  });
  return [args, cancel ? { ...all, signal: handle("cancel", value).signal } : all];
}

function fault({ kind, message, delay_ms: delay }) {
  return { fail: () => MockFault.fail(message), hang: MockFault.hang, die: MockFault.die, delay: () => MockFault.delay(delay) }[kind]();
}

function output(out) {
  return {
    outcome: out.outcome,
    exit_code: out.exitCode ?? null,
    signal: out.signal ?? null,
    stdout: shown(out.stdoutBytes),
    stderr: shown(out.stderrBytes),
    stdout_dropped: out.stdoutDroppedBytes,
    stderr_dropped: out.stderrDroppedBytes,
  };
}

/** Counters by the names that all languages use; reasons stay as they are. */
function stats(counters) {
  const snake = (key) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  const named = Object.fromEntries(Object.entries(counters).map(([key, value]) => [snake(key), value]));
  named.misses = Object.fromEntries(Object.entries(named.misses).filter(([, count]) => count > 0));
  return named;
}

function keep(kind, request, value) {
  handles[kind].set(request.as, value);
  return null;
}

/** A stream of events, and the event that somebody waited for in vain. */
const reading = new WeakMap();

async function nextEvent(request) {
  const events = handle("events", request);
  const next = reading.get(events) ?? events.next();
  reading.set(events, next);
  let timer;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, request.timeout_ms, null)));
  const result = await Promise.race([next, late]);
  clearTimeout(timer);
  if (result === null) {
    return null;
  }
  reading.delete(events);
  const { value: event } = result;
  return event === undefined ? null : {
    sequence: event.sequence,
    kind: event.kind,
    sandbox_id: event.sandboxId,
    text: event.reason ?? "",
    child_id: event.childId ?? 0,
    lost: event.lost ?? 0,
  };
}

/** Forgets a handle, and lets the collector find it. */
async function forget(kind, request) {
  handles[kind].delete(request[kind]);
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  for (let turn = 0; turn < 10; turn++) {
    await new Promise(setImmediate);
    collect();
  }
  return null;
}

async function drop(request) {
  const kind = Object.keys(handles).find((name) => request[name] !== undefined) ?? complain("nothing to drop");
  if (kind === "connection") {
    handle(kind, request).destroy();
  } else if (kind === "ref" || kind === "process" || kind === "events") {
    await handle(kind, request)[Symbol.asyncDispose]();
  }
  return forget(kind, request);
}

const operations = {
  backend_new: (r) => keep("backend", r, r.kind === "mock" ? new MockBackend() : new LinuxBackend(
    spelled({ keeper: r.keeper ?? null, image_cache: r.image_cache ?? null, shells: r.shells ?? null }))),
  mock_fault_at: (r) => handle("backend", r).faultAt(r.operation, number(r.nth), fault(r.fault)),
  mock_fault_always: (r) => handle("backend", r).faultAlways(r.operation, r.fault ? fault(r.fault) : undefined),
  mock_release_hangs: (r) => handle("backend", r).releaseHangs(),
  mock_wait_for_hangs: (r) => handle("backend", r).waitForHangs(r.operation, r.count, { timeoutMs: r.timeout_ms }),
  mock_counts: (r) => {
    const { live, mostLive, paused } = handle("backend", r);
    return { live, most_live: mostLive, paused };
  },
  mock_calls: (r) => handle("backend", r).calls(r.operation),
  clock_new: (r) => keep("clock", r, new ManualClock()),
  clock_advance: (r) => handle("clock", r).advance(number(r.by_ms)),
  cancel_new: (r) => keep("cancel", r, new AbortController()),
  cancel: (r) => handle("cancel", r).abort(),
  set_new: async (r) =>
    keep("set", r, await SandboxSet.open({ backend: handle("backend", r), ...spec(r.spec), ...config(r.config) })),
  get_or_create_unpaused: async (r) => {
    const given = options(r, "timeout_ms", "no_wait", "acquire", "binding");
    const sandbox = await handle("set", r).getOrCreateUnpaused(Object.keys(given).length > 0 ? given : undefined);
    keep("ref", r, sandbox);
    return { id: sandbox.id, uses: sandbox.uses };
  },
  prewarm: (r) => handle("set", r).prewarm(number(r.count), options(r, "timeout_ms")),
  shrink: (r) => handle("set", r).shrink(number(r.keep)),
  drain: (r) => handle("set", r).drain(options(r, "deadline_ms")),
  close: async (r) => {
    const { destroyed, survivors } = await handle("set", r).close(options(r, "deadline_ms"));
    return { destroyed, survivors: survivors.length };
  },
  stats: (r) => stats(handle("set", r).stats()),
  isolation_report: async (r) => {
    const { layers } = await handle("set", r).isolationReport();
    return Object.fromEntries(layers.map(({ name, status }) => [name, status]));
  },
  events: (r) => keep("events", r, handle("set", r).events(options(r, "capacity"))),
  next_event: nextEvent,
  put: (r) => handle("ref", r).put(),
  destroy: (r) => handle("ref", r).destroy(r.reason),
  taint: (r) => handle("ref", r).taint(r.reason),
  leave_scope: async (r) => {
    const failure = new Error("the holder fails");
    const sandbox = handle("ref", r);
    handles.ref.delete(r.ref);
    if (!r.failing) {
      await using(sandbox);
      return;
    }
    await sandbox.use(() => Promise.reject(failure)).catch((error) => error === failure || Promise.reject(error));
  },
  abandon: (r) => forget("ref", r),
  inspect: (r) => {
    const { id, uses, reused, state, scratchDir, hostScratchDir } = handle("ref", r);
    return { id, uses, reused, state, scratch_dir: scratchDir, host_scratch_dir: hostScratchDir ?? null };
  },
  age: (r) => Math.floor(handle("ref", r).ageMs),
  usage: async (r) => {
    const { memoryBytes, pids } = await handle("ref", r).usage();
    return { memory_bytes: memoryBytes, pids };
  },
  log: async (r) => shown(await handle("ref", r).log(options(r, "max_bytes"))),
  exec: async (r) => output(await handle("ref", r).exec(...command(r.command))),
  spawn: async (r) => keep("process", r, await handle("ref", r).spawn(...command(r.command))),
  write_stdin: (r) => handle("process", r).writeStdin(data(r.data), options(r, "timeout_ms")),
  close_stdin: (r) => handle("process", r).closeStdin(),
  kill: (r) => handle("process", r).kill(),
  read: async (r) => {
    const given = { stream: r.stream, ...options(r, "max_bytes", "timeout_ms") };
    return shown(await handle("process", r).read(given));
  },
  signal: (r) => handle("process", r).signal(number(r.signal)),
  wait: async (r) => output(await handle("process", r).wait(options(r, "timeout_ms"))),
  call: async (r) => shown(await handle("ref", r).call(data(r.data), options(r, "timeout_ms"))),
  connect: async (r) => keep("connection", r, await handle("ref", r).connect(options(r, "timeout_ms"))),
  connection_set_timeout: () => {
    throw new Unsupported("a connection is a stream of Node, which waits as long as its reader does");
  },
  read_file: async (r) => shown(await handle("ref", r).readFile(r.path, options(r, "max_bytes"))),
  write_file: (r) => handle("ref", r).writeFile(r.path, data(r.data), options(r, "mode")),
  list_dir: async (r) => {
    const entries = await handle("ref", r).listDir(r.path ?? undefined, options(r, "max_entries"));
    return entries.map(({ name, kind }) => ({ name, kind }));
  },
  remove: (r) => handle("ref", r).remove(r.path),
  drop,
  join: (r) => complain(`nothing in the background is called ${r.name}`),
};

/** The end of a block with `await using`. */
async function using(resource) {
  await resource[Symbol.asyncDispose]();
}

async function perform(request) {
  const operation = operations[request.op] ?? complain(`no operation ${request.op}`);
  try {
    return { ok: (await operation(request)) ?? null };
  } catch (error) {
    if (error instanceof Unsupported) {
      return { unsupported: error.message };
    }
    if (!(error instanceof SandboxSetError)) {
      complain(error.stack);
    }
    const name = error.code === "ABORT_ERR" ? "CANCELLED" : error.code.replace("ERR_SANDBOXSET_", "");
    return {
      error: {
        code: error.number,
        name,
        phase: error.phase,
        retryable: error.retryable,
        sandbox_id: error.sandboxId ?? null,
        field: error.field ?? null,
        message: error.message,
        cause: error.cause?.message ?? "",
      },
    };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  if (request.op === "join") {
    answer = await (background.get(request.name) ?? perform(request));
  } else if (request.background) {
    background.set(request.background, perform(request));
    answer = { ok: null };
  } else {
    answer = await perform(request);
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
