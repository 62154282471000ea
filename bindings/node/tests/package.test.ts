import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { execFileSync, spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { proposeTree, version } from "sandboxset";
import { noLinux, PROJECT } from "./support.js";

const skip = await noLinux();
const PACKAGE = join(PROJECT, "node_modules/sandboxset");

test("the package is whole, needs no other, and names no host of a registry", () => {
  const said = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8")) as Record<string, unknown>;
  assert.equal(said["version"], version);
  assert.equal(said["dependencies"], undefined);
  assert.deepEqual(readdirSync(join(PROJECT, "node_modules")).filter((name) => !name.startsWith(".")), ["sandboxset"]);
  assert.deepEqual(readdirSync(join(PACKAGE, "native")), ["sandboxset.linux-x64.node"]);
  for (const file of readdirSync(join(PACKAGE, "dist"))) {
    assert.doesNotMatch(readFileSync(join(PACKAGE, "dist", file), "utf8"), /registry/);
  }
});

test("without its native module the package says plainly what is missing", (context) => {
  const dir = mkdtempSync(join(tmpdir(), "sandboxset-node-"));
  context.after(() => rmSync(dir, { recursive: true }));
  const copy = join(dir, "node_modules/sandboxset");
  cpSync(PACKAGE, copy, { recursive: true });
  const load = (): string =>
    spawnSync(process.execPath, ["--input-type=module", "-e", 'await import("sandboxset")'], { cwd: dir }).stderr.toString();
  assert.equal(load(), "");
  cpSync(join(copy, "package.json"), join(copy, "native/sandboxset.linux-x64.node"));
  assert.match(load(), /Error: sandboxset: the native module native\/sandboxset\.linux-x64\.node cannot be loaded: /);
  rmSync(join(copy, "native"), { recursive: true });
  assert.match(load(), new RegExp(
    "Error: sandboxset: this package has no native module for linux-x64: native/sandboxset\\.linux-x64\\.node is missing\\. " +
    "Install a package that was built for this platform, or build one from the sources with `make node-package`\\."));
});

test("the package of another version than its native module says so", (context) => {
  const dir = mkdtempSync(join(tmpdir(), "sandboxset-node-"));
  context.after(() => rmSync(dir, { recursive: true }));
  cpSync(PACKAGE, join(dir, "node_modules/sandboxset"), { recursive: true });
  execFileSync("npm", ["pkg", "set", "version=99.0.0"], { cwd: join(dir, "node_modules/sandboxset") });
  const ended = spawnSync(process.execPath, ["--input-type=module", "-e", 'await import("sandboxset")'], { cwd: dir });
  assert.match(ended.stderr.toString(), new RegExp(`is of version ${version.replaceAll(".", "\\.")}, the package of 99\\.0\\.0`));
});

test("the command line examines the host", { skip }, () => {
  const run = (...args: string[]) => spawnSync("npm", ["exec", "--offline", "--", "sandboxset", ...args], { cwd: PROJECT });
  const table = run("doctor");
  assert.equal(table.status, 0, table.stderr.toString());
  assert.match(table.stdout.toString(), /namespace\.user +works/);
  const json = JSON.parse(run("doctor", "--json").stdout.toString()) as { checks: unknown[] };
  assert.ok(json.checks.length > 5);
  const wrong = run("cure");
  assert.equal(wrong.status, 2);
  assert.match(wrong.stderr.toString(), /^usage: sandboxset doctor/m);
});

test("a tree of parents is proposed", () => {
  const tree = proposeTree(
    [{ name: "report", imports: ["numpy", "json"], weight: 3 }, { name: "hook", imports: ["json"] }],
    [{ name: "json", importTimeMs: 10 }, { name: "numpy", importTimeMs: 100, memoryBytes: 30 << 20 }],
    { maxNodes: 3 },
  );
  assert.deepEqual(tree.nodes[0]?.preload, []);
  const [report, hook] = [tree.placements["report"] ?? NaN, tree.placements["hook"] ?? NaN];
  assert.notEqual(report, hook);
  assert.deepEqual(tree.nodes[hook]?.preload, ["json"]);
  assert.equal(tree.importTimeWithoutMs, 340);
  assert.equal(tree.importTimeWithMs, 0);
});
