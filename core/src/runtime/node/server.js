// What a Node runtime runs: loads the handler and answers calls.
//
// Each call is four bytes of length, little-endian, then the request; and so the answers. The highest bit of an
// answer's length says that the handler failed; the answer is then the exception in one line, a zero byte, and the
// stack. The calls of one connection are answered in their order; those of several may overlap where a handler waits.
"use strict";

const fs = require("node:fs");
const net = require("node:net");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

/** Where the init hears that we are ready, or why we never will be. */
const READY_FD = 3;
/** The most bytes that are said there: a message must arrive in one piece. */
const MOST_SAID = 400;
/** The largest request, and the largest answer: as much as a caller takes. */
const MOST_BYTES = 64 << 20;
/** How much of a stack is told. */
const MOST_STACK = 32 << 10;
/** Where the code of the user's set is. */
const CODE_DIR = "/code";

/** The function that is called `module:function`: a file of the set's code, or a module that Node finds itself. */
async function loadHandler(name) {
  const colon = name.lastIndexOf(":");
  const [moduleName, functionName] = [name.slice(0, colon), name.slice(colon + 1)];
  const candidates = ["", ".js", ".mjs", ".cjs"].map((ending) => path.join(CODE_DIR, moduleName + ending));
  const file = candidates.find((candidate) => fs.statSync(candidate, { throwIfNoEntry: false })?.isFile());
  const loaded = await import(file === undefined ? moduleName : pathToFileURL(file).href);
  const handler = loaded[functionName] ?? loaded.default?.[functionName];
  if (typeof handler !== "function") {
    throw new TypeError(`it exports no function ${functionName}`);
  }
  return handler;
}

/** The whole answer to a request, with its header. */
async function answer(handler, json, request) {
  try {
    let result = await handler(json ? JSON.parse(request.toString()) : request);
    if (json) {
      result = JSON.stringify(result) ?? "null";
    }
    if (typeof result !== "string" && !(result instanceof Uint8Array)) {
      throw new TypeError(`the handler returned ${result === null ? "null" : typeof result}, not bytes or a string`);
    }
    const bytes = Buffer.from(result);
    if (bytes.length > MOST_BYTES) {
      throw new RangeError(`the answer has ${bytes.length} bytes, more than ${MOST_BYTES}`);
    }
    return framed(bytes, 0);
  } catch (error) {
    const stack = error?.stack ?? "";
    console.error(stack || describe(error));
    const line = describe(error).slice(0, MOST_STACK).replaceAll("\0", "\\0");
    return framed(Buffer.from(`${line}\0${String(stack).slice(0, MOST_STACK)}`), 0x80000000);
  }
}

function framed(bytes, flag) {
  const header = Buffer.alloc(4);
  header.writeUInt32LE((flag + bytes.length) >>> 0);
  return Buffer.concat([header, bytes]);
}

/** Cuts what comes in on a connection into requests. */
function serve(stream, handler, json) {
  let pieces = [];
  let filled = 0;
  let last = Promise.resolve();
  const take = () => {
    if (filled < 4) {
      return null;
    }
    if (pieces[0].length < 4) {
      pieces = [Buffer.concat(pieces)];
    }
    const length = pieces[0].readUInt32LE();
    if (length > MOST_BYTES) {
      stream.destroy();
      return null;
    }
    if (filled < 4 + length) {
      return null;
    }
    const all = Buffer.concat(pieces);
    pieces = [all.subarray(4 + length)];
    filled -= 4 + length;
    return all.subarray(4, 4 + length);
  };
  stream.on("error", () => stream.destroy());
  stream.on("data", (piece) => {
    pieces.push(piece);
    filled += piece.length;
    for (let request = take(); request !== null; request = take()) {
      const current = request;
      last = last.then(async () => {
        const reply = await answer(handler, json, current);
        if (!stream.destroyed) {
          stream.write(reply);
        }
      });
    }
  });
}

/** An exception in one line. */
function describe(error) {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : `${error}`;
  } catch {
    return "an exception that cannot be shown";
  }
}

async function main(name, json) {
  let handler;
  try {
    handler = await loadHandler(name);
  } catch (error) {
    console.error(error?.stack ?? error);
    const said = Buffer.from(`FAILED handler ${name}: ${describe(error).replaceAll("\n", " ")}`);
    fs.writeSync(READY_FD, said.subarray(0, MOST_SAID));
    process.exit(1);
  }
  // What a handler leaves behind and fails later must not end the runtime.
  process.on("uncaughtException", (error) => console.error(error?.stack ?? error));
  process.on("unhandledRejection", (error) => console.error(error?.stack ?? error));
  const server = net.createServer((stream) => serve(stream, handler, json));
  server.listen(process.env.SANDBOXSET_SOCKET, () => {
    fs.writeSync(READY_FD, "READY\n");
    fs.closeSync(READY_FD);
  });
}

main(process.argv[2], process.argv[3] === "json");
