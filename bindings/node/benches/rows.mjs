// Measures rows of `make bench` and prints one line of JSON each: `node rows.mjs node.get_put`.
//
// It is run in a project that has the package and the peers. Pairs of get and put are timed in batches, so that reading
// the clock does not count; commands are timed one by one.

import { createPool } from "generic-pool";
import { MockBackend, SandboxSet } from "sandboxset";
import tarn from "tarn";

/** Pairs per batch. */
const BATCH = 200;
const SECONDS = Number(process.env.SANDBOXSET_BENCH_SECONDS ?? 2);

/** Measures contenders in turn, batch by batch, so that all of them have the same machine. */
async function measure(contenders, warmUp, perBatch) {
  const samples = new Map(Object.keys(contenders).map((name) => [name, []]));
  let round = 0;
  const end = () => performance.now() + SECONDS * 1000 * samples.size;
  for (let until = Infinity; performance.now() < until || round < warmUp + 100; round++) {
    until = round === warmUp ? end() : until;
    for (const [name, batch] of Object.entries(contenders)) {
      const started = process.hrtime.bigint();
      await batch();
      const took = Number(process.hrtime.bigint() - started) / perBatch;
      if (round >= warmUp) {
        samples.get(name).push(took);
      }
    }
  }
  for (const taken of samples.values()) {
    taken.sort((one, other) => one - other);
  }
  return samples;
}

const quantile = (samples, share) => samples[Math.floor(share * (samples.length - 1))];

function report(name, unit, samples, perBatch) {
  const scale = unit === "us" ? 1000 : 1;
  const [[, ours], ...peers] = samples;
  const rounded = (value) => Math.round((value / scale) * 10) / 10;
  console.log(JSON.stringify({
    name,
    unit,
    p50: rounded(quantile(ours, 0.5)),
    p90: rounded(quantile(ours, 0.9)),
    p99: rounded(quantile(ours, 0.99)),
    max: rounded(ours.at(-1)),
    n: ours.length * perBatch,
    peers: Object.fromEntries(peers.map(([peer, taken]) => [peer, rounded(quantile(taken, 0.5))])),
  }));
}

async function getPut() {
  const pool = await SandboxSet.open({ backend: new MockBackend(), maxSize: 8 });
  const generic = createPool({ create: async () => ({}), destroy: async () => {} }, { max: 8 });
  const other = new tarn.Pool({ create: async () => ({}), destroy: () => {}, min: 0, max: 8 });
  const samples = await measure({
    sandboxset: async () => {
      for (let pair = 0; pair < BATCH; pair++) {
        const sandbox = await pool.getOrCreateUnpaused();
        await sandbox.put();
      }
    },
    "generic-pool": async () => {
      for (let pair = 0; pair < BATCH; pair++) {
        const resource = await generic.acquire();
        await generic.release(resource);
      }
    },
    tarn: async () => {
      for (let pair = 0; pair < BATCH; pair++) {
        const resource = await other.acquire().promise;
        other.release(resource);
      }
    },
  }, 200, BATCH);
  report("node.get_put", "ns", samples, BATCH);
  await Promise.all([pool.close(), generic.drain().then(() => generic.clear()), other.destroy()]);
}

async function execTrue() {
  const pool = await SandboxSet.open({ maxSize: 1 });
  const sandbox = await pool.getOrCreateUnpaused();
  const samples = await measure({
    sandboxset: async () => {
      const output = await sandbox.exec(["/bin/true"]);
      if (!output.success) {
        throw new Error(`true ended as ${output.outcome}`);
      }
    },
  }, 50, 1);
  report("node.exec_true", "us", samples, 1);
  await sandbox.put();
  await pool.close();
}

const rows = { "node.get_put": getPut, "node.exec_true": execTrue };
for (const name of process.argv.slice(2)) {
  await rows[name]();
}
