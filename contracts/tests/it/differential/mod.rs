//! The model against the bytecode: random sequences of operations, and after each step the same answer and the same
//! state on both sides.
//!
//! `OPENCLAW_DIFFERENTIAL_SEQUENCES` sets how many sequences are run, `OPENCLAW_DIFFERENTIAL_SEED` the first seed. A failure
//! names the seed that replays it.

mod chain;
mod compare;
mod generate;
mod ops;
mod oracle;
mod random;
mod refusal;
mod world;

use std::{collections::BTreeMap, env, time::Instant};

use contracts::{book::Market, errors::describe_revert, params::Preset};

use chain::{Chain, Outcome};
use generate::Generator;
use ops::Op;
use random::Random;
use world::{Genesis, START_S, genesis};

const SEQUENCES: u64 = 200;

/// How often each operation came to each outcome.
type Counts = BTreeMap<(String, String), u64>;

#[test]
fn the_model_answers_as_the_bytecode_does() {
    let setting = |name: &str, default| env::var(name).map_or(default, |text| text.parse::<u64>().unwrap());
    let sequences = setting("OPENCLAW_DIFFERENTIAL_SEQUENCES", SEQUENCES);
    let first = setting("OPENCLAW_DIFFERENTIAL_SEED", 1);
    let begun = Instant::now();
    // Two threads: short clocks and long ones.
    let halves = std::thread::scope(|scope| {
        let halves = [Preset::Demo, Preset::L2].map(|preset| {
            let seeds = (first..first + sequences).filter(move |seed| preset_of(*seed) == preset);
            scope.spawn(move || run_all(preset, seeds))
        });
        halves.map(|half| half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut counts = Counts::new();
    for (key, count) in halves.into_iter().flatten() {
        *counts.entry(key).or_default() += count;
    }
    report(&counts, sequences, begun);
    if sequences >= SEQUENCES {
        check_coverage(&counts);
    }
}

fn preset_of(seed: u64) -> Preset {
    if seed.is_multiple_of(2) { Preset::Demo } else { Preset::L2 }
}

fn run_all(preset: Preset, seeds: impl Iterator<Item = u64>) -> Counts {
    let genesis = genesis(preset);
    let mut counts = Counts::new();
    for seed in seeds {
        run(seed, &genesis, &mut counts);
    }
    counts
}

fn run(seed: u64, genesis: &Genesis, counts: &mut Counts) {
    let Genesis { world, model, state } = genesis;
    let (mut chain, mut model) = (Chain::new(state.clone()), model.clone());
    let mut random = Random::new(seed);
    let mut seen = compare::Seen::default();
    let mut now_s = START_S;
    let steps = random.within(60, 100) as usize;
    let crowded = random.percent(15);
    for step in 0..steps {
        let mut generator = Generator { random: &mut random, world, model: &model, now_s, step, crowded };
        now_s = generator.next_time();
        generator.now_s = now_s;
        let op = generator.next_op();
        chain.warp(now_s);
        let (from, to, data) = op.on_chain(world);
        let before = matches!(op, Op::Match { expected: None, .. }).then(|| model.clone());
        let on_chain = chain.send(from, to, data);
        let (answer, on_model) = op.on_model(now_s, &mut model);
        let found = before.map_or(Ok(()), |before| check_match(&before, &op, now_s, &on_model));
        let outcome = match &answer {
            Ok(()) if is_no_match(&op, &on_model) => "none".to_owned(),
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{error:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
        };
        *counts.entry((op.name(), outcome)).or_default() += 1;
        let compared = if on_chain == on_model {
            let changed = answer.is_ok() || step + 1 == steps;
            if changed {
                compare::compare(&mut chain, &model, world, now_s, &mut seen, step + 1 == steps)
            } else {
                Ok(())
            }
        } else {
            Err(format!("the answer differs\n  chain {}\n  model {}", describe(&on_chain), describe(&on_model)))
        };
        if let Err(difference) = found.and(compared) {
            panic!(
                "seed {seed}, step {step}, time {now_s}: {op:#?}\n{difference}\n\
                 replay: OPENCLAW_DIFFERENTIAL_SEED={seed} OPENCLAW_DIFFERENTIAL_SEQUENCES=1 \
                 cargo test --release -p contracts differential"
            );
        }
    }
}

/// Invariant: a match takes the highest tick, then the lowest sequence, of the open and unexpired bids.
fn check_match(before: &Market, op: &Op, now_s: u64, outcome: &Outcome) -> Result<(), String> {
    let (Op::Match { offer, book, min_tick, .. }, Ok(data)) = (op, outcome) else { return Ok(()) };
    let floor = before.offer(*offer).map_or(0, |offer| offer.reserve_tick).max(*min_tick);
    let id = u128::from_be_bytes(data[16..32].try_into().unwrap());
    let found = contracts::ids::AgreementId::from_u128(id).filter(|id| !id.is_none());
    oracle::check(before, now_s, *book, floor, found)
}

fn is_no_match(op: &Op, outcome: &Outcome) -> bool {
    let Ok(data) = outcome else { return false };
    match op {
        Op::Match { .. } => data.iter().all(|byte| *byte == 0),
        Op::MatchBatch { .. } => data.len() == 64,
        _ => false,
    }
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Ok(data) => format!("returned {data}"),
        Err(data) => format!("{} ({data})", describe_revert(data)),
    }
}

#[allow(clippy::print_stdout, reason = "shown by --nocapture, for the long form")]
fn report(counts: &Counts, sequences: u64, begun: Instant) {
    let total: u64 = counts.values().sum();
    println!("{sequences} sequences, {total} operations, {:.1} s", begun.elapsed().as_secs_f64());
    for ((op, outcome), count) in counts {
        println!("{op:<18} {outcome:<28} {count:>8} {:>6.2} %", *count as f64 * 100.0 / total as f64);
    }
    println!("successful place or match: {:.1} %", dense(counts) * 100.0);
}

/// Share of operations that placed or matched.
fn dense(counts: &Counts) -> f64 {
    let entries = ["Place", "PlaceSigned", "Match", "MatchBatch"];
    let of = |op: &str, outcome: &str| counts.get(&(op.to_owned(), outcome.to_owned())).copied().unwrap_or_default();
    let done: u64 = entries.iter().map(|op| of(op, "ok")).sum();
    done as f64 / counts.values().sum::<u64>() as f64
}

/// A generator that drifts into doing nothing would pass for ever.
fn check_coverage(counts: &Counts) {
    assert!(dense(counts) >= 0.3, "only {:.1} % of operations place or match", dense(counts) * 100.0);
    let always_refused = ["PlaceAtMarket", "CancelAtMarket", "DisputeAtMarket", "CollectAtMarket"];
    let mut ops: Vec<_> = counts.keys().map(|(op, _)| op.as_str()).collect();
    ops.dedup();
    assert_eq!(ops.len(), 39, "{ops:?}");
    for op in ops {
        let done = counts.contains_key(&(op.to_owned(), "ok".to_owned()));
        assert_ne!(done, always_refused.contains(&op), "{op} never or wrongly succeeds");
    }
    let mut errors: Vec<_> = counts.keys().map(|(_, outcome)| outcome.as_str()).collect();
    errors.sort_unstable();
    errors.dedup();
    assert!(errors.len() >= 60, "only {} outcomes: {errors:?}", errors.len());
}
