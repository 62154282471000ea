#!/usr/bin/env node
/** `sandboxset doctor [--json]` and `sandboxset self-test [--json]`. */

import { doctor, selfTest } from "./reports.js";

const USAGE = "usage: sandboxset doctor [--json] | sandboxset self-test [--json]";

async function main(args: string[]): Promise<number> {
  const [command, ...rest] = args;
  const json = rest[0] === "--json";
  if (rest.length > (json ? 1 : 0)) {
    return usage();
  }
  if (command === "doctor") {
    const diagnosis = await doctor();
    process.stdout.write(`${(json ? JSON.stringify(diagnosis, null, 2) : String(diagnosis)).trimEnd()}\n`);
    return diagnosis.canMakeSandboxes ? 0 : 1;
  }
  if (command === "self-test") {
    const report = await selfTest();
    process.stdout.write(`${(json ? report.json : report.table).trimEnd()}\n`);
    return report.passed ? 0 : 1;
  }
  return usage();
}

function usage(): number {
  process.stderr.write(`${USAGE}\n`);
  return 2;
}

process.exitCode = await main(process.argv.slice(2));
