// SPDX-License-Identifier: MIT OR Apache-2.0
// Builds mutants of the contracts and runs the tests against them.
//
// The tests deploy the contracts from their artifacts. So a mutant is compiled by itself, in this process, and its
// bytecode laid into the artifacts of a scratch copy whose sources and compiled tests stay as they are: no test is
// compiled twice, and the working tree is never touched.
"use strict";

const { once } = require("node:events");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { spawn, spawnSync } = require("node:child_process");
const { Worker, isMainThread, parentPort, workerData } = require("node:worker_threads");

const ROOT = path.resolve(__dirname, "../..");
const COPIED = ["contracts", "test", "script", "foundry.toml", "snapshots"];
const ENTRIES = [
  { source: "contracts/AIPowerRental.sol", name: "AIPowerRental", artifact: "AIPowerRental.sol/AIPowerRental.json" },
  {
    source: "contracts/AgentWalletFactory.sol",
    name: "AgentWalletFactory",
    artifact: "AgentWalletFactory.sol/AgentWalletFactory.json",
  },
];
// What a mutant is no worse for: its gas and its size. The first group is the quickest and kills most.
const NEVER = "test/gas/**";
const SLOW = "test/invariant/**,test/attack/**";
const TEST_TIMEOUT_MS = 180_000;
const COMPILES_PER_WORKER = 25;
/** Process groups to end when this one is told to. */
const running = new Set();

/** The sources under `root` that `entry` imports, itself included; `changed` overrides what is on the disk. */
function closure(root, entry, changed = {}) {
  const sources = {};
  const todo = [entry];
  while (todo.length > 0) {
    const name = todo.pop();
    if (sources[name]) continue;
    const file = name.startsWith("@") ? path.join(root, "node_modules", name) : path.join(root, name);
    const content = changed[name] ?? fs.readFileSync(file, "utf8");
    sources[name] = { content };
    for (const match of content.matchAll(/^\s*import\s+(?:[^"';]*from\s+)?["']([^"']+)["']/gm)) {
      todo.push(match[1].startsWith(".") ? path.posix.join(path.posix.dirname(name), match[1]) : match[1]);
    }
  }
  return sources;
}

/** Without the optimizer the compiler takes two thirds of the time; the tests that then need too much are left out. */
function compilerInput(entry, sources) {
  return JSON.stringify({
    language: "Solidity",
    sources,
    settings: {
      viaIR: true,
      optimizer: { enabled: false },
      evmVersion: "cancun",
      metadata: { bytecodeHash: "none", appendCBOR: false },
      outputSelection: { [entry.source]: { [entry.name]: ["evm.bytecode.object", "evm.deployedBytecode.object"] } },
    },
  });
}

if (!isMainThread && workerData === "solc") {
  const solc = require(path.join(ROOT, "node_modules/solc"));
  parentPort.on("message", (input) => parentPort.postMessage(solc.compile(input)));
}

/** A lane: a scratch copy, a compiler of its own, one mutant at a time. */
class Lane {
  /** With a `suite`, a glob of test files, those alone are asked. */
  constructor(folder, suite) {
    this.folder = folder;
    this.suite = suite;
    this.base = {};
    this.compiles = 0;
  }

  async prepare(log) {
    for (const name of COPIED) {
      if (fs.existsSync(path.join(ROOT, name))) fs.cpSync(path.join(ROOT, name), path.join(this.folder, name), { recursive: true });
    }
    for (const name of ["out", "cache"]) {
      if (fs.existsSync(path.join(ROOT, name))) fs.cpSync(path.join(ROOT, name), path.join(this.folder, name), { recursive: true, preserveTimestamps: true });
    }
    linkModules(this.folder);
    // A filtered test run compiles tests alone; the artifacts of the rest must be there, their bytecode is replaced below.
    if (!ENTRIES.every((entry) => fs.existsSync(path.join(this.folder, "out", entry.artifact)))) {
      const built = await this.forge(["build"], 900_000);
      if (built.code !== 0) throw new Error(`the project does not build; mend that first:\n${built.output.slice(-2000)}`);
    }
    for (const entry of ENTRIES) {
      const { error, code } = await this.compile(entry, {});
      if (error) throw new Error(`${entry.source} does not compile without the optimizer:\n${error}`);
      this.base[entry.name] = code;
    }
    this.install(this.base);
    this.skipped = [];
    this.log = log;
    await this.learn(this.suite ? ["--match-path", this.suite] : ["--no-match-path", `{${NEVER},${SLOW}}`]);
  }

  /** Notes which tests fail on the unharmed contracts, so that they are not asked. */
  async learn(paths) {
    const run = await this.forge(["test", ...paths], 900_000);
    const failed = failures(run.output);
    if (run.code !== 0 && failed.length === 0) throw new Error(`the tests cannot run:\n${run.output.slice(-2000)}`);
    if (failed.length > 0) this.log(`left out, since they fail on the unharmed contracts when built without optimizer: ${failed.join(", ")}`);
    this.skipped.push(...failed);
  }

  prepareLike(other) {
    linkModules(this.folder);
    fs.cpSync(other.folder, this.folder, { recursive: true, preserveTimestamps: true, filter: (name) => path.basename(name) !== "node_modules" });
    this.base = other.base;
    this.skipped = [...other.skipped];
    this.log = () => {};
  }

  leftOut() {
    const tests = this.skipped.map((name) => name.split(":").pop()).filter((name) => name !== "setUp");
    return tests.length === 0 ? [] : ["--no-match-test", `^(${tests.join("|")})\\(`];
  }

  async compile(entry, changed) {
    const sources = closure(this.folder, entry.source, changed);
    if (!this.worker || this.compiles++ % COMPILES_PER_WORKER === 0) {
      await this.worker?.terminate();
      this.worker = new Worker(__filename, { workerData: "solc" });
    }
    const answer = once(this.worker, "message");
    this.worker.postMessage(compilerInput(entry, sources));
    const output = JSON.parse((await answer)[0]);
    const error = (output.errors ?? []).find((item) => item.severity === "error");
    if (error) return { error: error.formattedMessage };
    const { bytecode, deployedBytecode } = output.contracts[entry.source][entry.name].evm;
    return { code: { bytecode: `0x${bytecode.object}`, deployedBytecode: `0x${deployedBytecode.object}` } };
  }

  install(codes) {
    for (const entry of ENTRIES) {
      const code = codes[entry.name];
      if (!code) continue;
      const file = path.join(this.folder, "out", entry.artifact);
      const artifact = JSON.parse(fs.readFileSync(file, "utf8"));
      artifact.bytecode = { object: code.bytecode, sourceMap: "", linkReferences: {} };
      artifact.deployedBytecode = { object: code.deployedBytecode, sourceMap: "", linkReferences: {} };
      fs.writeFileSync(file, JSON.stringify(artifact));
    }
  }

  forge(args, timeout) {
    return new Promise((resolve) => {
      const child = spawn("nice", ["script/forge", ...args], {
        cwd: this.folder,
        detached: true,
        env: { ...process.env, NO_COLOR: "1", FOUNDRY_CODE_SIZE_LIMIT: "1000000", FOUNDRY_DISABLE_NIGHTLY_WARNING: "1", FORGE_SNAPSHOT_CHECK: "false", FOUNDRY_FUZZ_RUNS: "32", FOUNDRY_FUZZ_SEED: "1" },
      });
      running.add(child.pid);
      let output = "";
      let late = false;
      const timer = setTimeout(() => {
        late = true;
        process.kill(-child.pid, "SIGKILL");
      }, timeout);
      for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes) => (output += bytes));
      child.on("close", (code) => {
        clearTimeout(timer);
        running.delete(child.pid);
        resolve({ code: code ?? 1, output, late });
      });
    });
  }

  /** What becomes of the mutant whose changed sources are given: { outcome, by }. */
  async judge(changed) {
    const codes = {};
    let differs = false;
    for (const entry of ENTRIES) {
      const reached = closure(this.folder, entry.source);
      if (!Object.keys(changed).some((name) => reached[name])) continue;
      const { error, code } = await this.compile(entry, changed);
      if (error) return { outcome: "invalid", by: error.split("\n")[0] };
      differs ||= code.bytecode !== this.base[entry.name].bytecode;
      codes[entry.name] = code;
    }
    if (!differs) return { outcome: "same", by: "same bytecode" };
    this.install({ ...this.base, ...codes });
    if (this.suite) return this.ask(["--match-path", this.suite], (output) => /\[FAIL: ([^\]]*)\]/.exec(output)?.[1]);
    const market = Object.keys(changed).every((name) => name.startsWith("contracts/Market"));
    const wallet = Object.keys(changed).every((name) => /Wallet|Ledgers|SpendWindow/.test(name));
    const groups = market ? ["test/{market,lifecycle}/**"] : wallet ? ["test/{wallet,factory}/**"] : [];
    for (const group of [...groups, null, `{${SLOW}}`]) {
      const paths = group === null ? ["--no-match-path", `{${NEVER},${SLOW}}`] : ["--match-path", group];
      if (group === `{${SLOW}}`) {
        if (Object.keys(changed).some((name) => name.startsWith("contracts/libraries/"))) {
          const alone = await this.judgeAlone(changed);
          if (alone.outcome === "killed") return alone;
        }
        if (!this.knowsSlow) {
          this.install(this.base);
          await this.learn(paths);
          this.knowsSlow = true;
          this.install(codes);
        }
      }
      const verdict = await this.ask(paths, (output) => failures(output)[0]);
      if (verdict.outcome !== "SURVIVED") return verdict;
    }
    return { outcome: "SURVIVED", by: "" };
  }

  /** Runs the tests at `paths` against what is installed; `caught` finds in forge's output what failed, if anything did. */
  async ask(paths, caught) {
    const run = await this.forge(["test", "--fail-fast", ...paths, ...this.leftOut()], TEST_TIMEOUT_MS);
    if (run.late) return { outcome: "killed", by: "time-out" };
    const by = caught(run.output);
    if (by) return { outcome: "killed", by };
    if (run.code !== 0 && !/No tests (found|to run|match)/i.test(run.output)) return { outcome: "broken", by: run.output.slice(-500) };
    return { outcome: "SURVIVED", by: "" };
  }

  /** The libraries' own tests compile them in; a folder of their own keeps the artifacts of the others fresh. */
  async judgeAlone(changed) {
    const folder = path.join(this.folder, "alone");
    fs.mkdirSync(folder, { recursive: true });
    for (const name of ["contracts", "test/libraries", "script", "foundry.toml"]) {
      fs.cpSync(path.join(ROOT, name), path.join(folder, name), { recursive: true });
    }
    if (!fs.existsSync(path.join(folder, "node_modules"))) linkModules(folder);
    for (const [name, content] of Object.entries(changed)) fs.writeFileSync(path.join(folder, name), content);
    const run = await Lane.prototype.forge.call({ folder }, ["test", "--fail-fast", "--match-path", "test/libraries/**"], TEST_TIMEOUT_MS);
    const failed = failures(run.output);
    if (failed.length > 0) return { outcome: "killed", by: failed[0] };
    return run.code === 0 ? { outcome: "SURVIVED", by: "" } : { outcome: "broken", by: run.output.slice(-500) };
  }

  async close() {
    await this.worker?.terminate();
  }
}

/** Hard links, not a symbolic one: forge would resolve that, find every source at another path and compile all anew. */
function linkModules(folder) {
  const target = path.join(folder, "node_modules");
  if (spawnSync("cp", ["-al", path.join(ROOT, "node_modules"), target], { stdio: "ignore" }).status === 0) return;
  fs.rmSync(target, { recursive: true, force: true });
  fs.cpSync(path.join(ROOT, "node_modules"), target, { recursive: true, verbatimSymlinks: true });
}

/** Failed tests in forge's output, as `Contract:test`. */
function failures(output) {
  const found = new Set();
  let suite = "unknown";
  for (const line of output.split("\n")) {
    const ran = /^Ran \d+ tests? for \S+:(\w+)/.exec(line);
    if (ran) suite = ran[1];
    const test = /^\[FAIL.*\]\s+(\w+)\(/.exec(line) ?? /^\s*\[FAIL.*\]\s+(\w+)/.exec(line);
    if (test) found.add(`${suite}:${test[1]}`);
    if (/^Ran \d+ test suites?/.test(line)) break;
  }
  return [...found];
}

/**
 * Runs `mutants` ({ label, changed }) on `jobs` lanes; calls `report(mutant, verdict)` as each is done. With a `suite`, a
 * glob of test files, those alone are asked, and a verdict names the failed assertion instead of the test.
 */
async function judgeAll(mutants, jobs, log, report, suite) {
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "openclaw-mutate-"));
  const lanes = [];
  const stop = () => {
    for (const pid of running) process.kill(-pid, "SIGKILL");
    fs.rmSync(scratch, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    process.exit(130);
  };
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  try {
    for (let lane = 0; lane < Math.min(jobs, mutants.length); ++lane) {
      const folder = path.join(scratch, String(lane));
      fs.mkdirSync(folder);
      lanes.push(new Lane(folder, suite));
      if (lane === 0) await lanes[0].prepare(log);
      else lanes[lane].prepareLike(lanes[0]);
    }
    const queue = [...mutants];
    await Promise.all(
      lanes.map(async (lane) => {
        for (let mutant = queue.shift(); mutant; mutant = queue.shift()) {
          const began = Date.now();
          const verdict = await lane.judge(mutant.changed());
          report(mutant, { ...verdict, seconds: Math.round((Date.now() - began) / 100) / 10 });
        }
      }),
    );
  } finally {
    for (const lane of lanes) await lane.close();
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

module.exports = { ROOT, judgeAll };
