// SPDX-License-Identifier: MIT OR Apache-2.0
// The mutants of slither-mutate: which there are, which are tried, what came of them.
"use strict";

const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { spawnSync } = require("node:child_process");

const FILES = [
  "contracts/MarketState.sol",
  "contracts/MarketSettlement.sol",
  "contracts/MarketDemand.sol",
  "contracts/MarketSupply.sol",
  "contracts/AgentWallet.sol",
  "contracts/WalletKeys.sol",
  "contracts/AgentWalletFactory.sol",
  ...["Accounts", "Books", "Heads", "Ids", "Ledgers", "Price", "Rentals", "SpendWindow", "TypedData"].map((name) => `contracts/libraries/${name}.sol`),
];

/** Every mutant; needs slither-analyzer in .venv. */
function generate(root, say) {
  const python = path.join(root, ".venv/bin/python");
  if (!fs.existsSync(path.join(root, ".venv/bin/slither-mutate"))) {
    throw new Error("no slither-mutate in .venv; script/analyze slither installs it");
  }
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "openclaw-generate-"));
  try {
    for (const name of ["contracts", "script", "foundry.toml"]) fs.cpSync(path.join(root, name), path.join(scratch, name), { recursive: true });
    fs.symlinkSync(path.join(root, "node_modules"), path.join(scratch, "node_modules"));
    say("reading the contracts for mutants");
    const env = { ...process.env, PATH: `${path.join(root, "node_modules/.bin")}:${process.env.PATH}`, FOUNDRY_DENY: "never", FOUNDRY_OPTIMIZER: "false" };
    const run = (command, args) => {
      const done = spawnSync("nice", [command, ...args], { cwd: scratch, encoding: "utf8", env, maxBuffer: 1 << 28 });
      if (done.status !== 0) throw new Error(`${command} failed:\n${(done.stderr || done.stdout).slice(-2000)}`);
      return done.stdout;
    };
    run("forge", ["build", "--build-info", "--ast", "--force", "contracts"]);
    const rows = run(python, [path.join(__dirname, "generate.py"), scratch, ...FILES]);
    return rows.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

/** `count` of `items`, the same for the same seed. */
function sample(items, count, seed) {
  let state = seed >>> 0;
  const random = () => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const left = [...items];
  for (let i = left.length - 1; i > 0; --i) {
    const j = Math.floor(random() * (i + 1));
    [left[i], left[j]] = [left[j], left[i]];
  }
  return left.slice(0, count);
}

/** Changes that no test could notice, each with its reason: "file mutator before after" → why. */
function argued() {
  const lines = fs.readFileSync(path.join(__dirname, "survivors.tsv"), "utf8").split("\n");
  return new Map(lines.filter((line) => line && !line.startsWith("#")).map((line) => {
    const fields = line.split("\t");
    return [fields.slice(0, 4).join("\t"), fields[4]];
  }));
}

/**
 * Kill rates by file and by mutator, and the survivors. What does not compile, compiles to the same code or is argued in
 * survivors.tsv counts for nothing.
 */
function summarise(rows) {
  const reasons = argued();
  const reason = (row) => reasons.get([row.file, row.mutator, whole(row.old), whole(row.new)].join("\t"));
  const lived = rows.filter((row) => row.outcome === "SURVIVED");
  const counted = rows.filter((row) => row.outcome === "killed" || (row.outcome === "SURVIVED" && !reason(row)));
  const killed = (some) => some.filter((row) => row.outcome === "killed").length;
  const table = (field) => [...new Set(counted.map((row) => row[field]))].sort().map((value) => {
    const some = counted.filter((row) => row[field] === value);
    return `  ${value.padEnd(40)} ${String(killed(some)).padStart(4)} of ${String(some.length).padStart(4)}  ${percent(killed(some), some.length)}`;
  });
  const other = (outcome) => rows.filter((row) => row.outcome === outcome).length;
  const lines = [
    "by file:",
    ...table("file"),
    "by mutator:",
    ...table("mutator"),
    "survivors:",
    ...counted.filter((row) => row.outcome === "SURVIVED").map((row) => `  ${row.file}:${row.line} ${row.mutator}\n    - ${flat(row.old)}\n    + ${flat(row.new)}`),
    `killed ${killed(rows)} of ${killed(rows) + lived.length} that compile to other code: ${percent(killed(rows), killed(rows) + lived.length)}`,
    `killed ${killed(counted)} of ${counted.length} that somebody could notice: ${percent(killed(counted), counted.length)}`,
    `not counted: ${other("invalid")} did not compile, ${other("same")} compiled to the same code, ${other("broken")} could not be tested`,
  ];
  return { text: lines.join("\n"), rate: counted.length === 0 ? 0 : killed(counted) / counted.length };
}

const percent = (part, whole) => (whole === 0 ? "-" : `${((100 * part) / whole).toFixed(1)} %`);
const whole = (text) => text.replace(/\s+/g, " ").trim();
const flat = (text) => whole(text).slice(0, 160);

module.exports = { generate, sample, summarise };
