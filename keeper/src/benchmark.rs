//! How fast a node is: the work that every provider of a class can be measured by, and the signed statement of what came out.
//!
//! The work is made in code from a fixed seed, so both sides know it without sending it, and its results are known
//! beforehand: a worker that does not do it right gets no score. A score is the reference machine's time divided by the
//! node's, so 1 is the reference's speed.
//!
//! A published score is its provider's own word. It keeps honest providers in the right class; one that lies is found out by
//! what agents measure themselves ([`crate::speeds`]).

mod score;

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use alloy::primitives::{B256, b256};
use contracts::{classes::HardwareClass, ids::AgreementId};

#[cfg(test)]
pub(crate) use self::score::tests as samples;
pub use self::score::{MAX_AGE_S, Score, ScoreError, Scored};
use crate::spec::{InputRef, MAX_INPUTS, Manifest, RentalSpec, TaskSpec, TaskType, sha256};

/// Rows of the table.
const ROWS: u64 = 60_000;
const TABLE_SHA256: B256 = b256!("0xa40e1fab6fa5c42f0a95baafc9e5969cf5f2f8989ee52a80169499ad07e96ed0");
const TABLE_BYTES: u64 = 3_179_592;

/// What the reference machine takes: one of two cores of a virtual Intel Xeon (model 167) at 2.6 GHz, Docker, cpus = 1. Of this,
/// 3.05 s are the worker's processor time in its container, the least of three runs, and 0.15 s the container's start. The
/// machine had other work, so a clock on the wall would have said more.
const REFERENCE_MS: u64 = 3_200;

/// The work that a class is measured by.
#[derive(Clone, Debug)]
pub struct Template {
    /// What is asked of the worker.
    pub spec: RentalSpec,
    /// Its hash, which names the template.
    pub spec_hash: B256,
    /// How long the reference machine takes, from asking the engine for a container to the worker's end, milliseconds.
    pub reference_ms: u64,
    /// Whether the worker's craft uses the class's accelerator.
    pub accelerated: bool,
    /// See [`Self::yields`].
    results: B256,
}

impl Template {
    /// The template of a class.
    ///
    /// All classes have the same one for now: the reference worker has no craft that uses an accelerator, so nothing but a
    /// node's processor can be measured with it.
    pub fn of(_class: HardwareClass) -> Self {
        // One table under many names: some seconds of work, but little to write and nothing to keep in memory.
        let input = |number| InputRef { name: format!("{number}.csv"), sha256: TABLE_SHA256, bytes: TABLE_BYTES };
        let task = TaskSpec {
            task_id: "benchmark-1".into(),
            task_type: TaskType::DataAnalysis,
            inputs: (0..MAX_INPUTS).map(input).collect(),
            parameters: Default::default(),
        };
        let spec = RentalSpec { version: 1, salt: B256::ZERO, tasks: vec![task], keep_warm_s: 0 };
        let spec_hash = sha256(&spec.to_bytes());
        Self {
            spec,
            spec_hash,
            reference_ms: REFERENCE_MS,
            accelerated: false,
            results: b256!("0x14de77e7b4c254e8e75e9c603e2fcda4dfafa3742addf127227020377d9aa510"),
        }
    }

    /// How fast a node of `class` should be by this template, 1 being the reference machine: the class's relative speed
    /// where the craft uses the accelerator that makes it so.
    pub fn nominal(&self, class: HardwareClass) -> f64 {
        if self.accelerated { class.relative_speed() } else { 1.0 }
    }

    /// Writes the inputs' blobs into `folder`, and gives the path of each by its hash. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write_blobs(&self, folder: &Path) -> io::Result<impl Fn(&B256) -> PathBuf + use<>> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join(hex::encode(TABLE_SHA256)), table())?;
        let folder = folder.to_owned();
        Ok(move |hash: &B256| folder.join(hex::encode(hash)))
    }

    /// Whether a worker's results are what the template must yield.
    pub fn yields(&self, manifest: &Manifest) -> bool {
        results_of(manifest) == self.results
    }
}

/// Processor cores in thousandths, as scores have them.
pub fn cpus_milli(cpus: f64) -> u32 {
    (cpus * 1_000.0).round() as u32
}

/// The id that measuring runs under: of class 0, which no market has, so that no rental is ever mistaken for it.
pub fn run_id() -> AgreementId {
    AgreementId::from_u128(1).unwrap_or_default()
}

/// Whether an id is that of measuring, not of a rental.
pub fn is_run(id: AgreementId) -> bool {
    id.class() == 0
}

fn results_of(manifest: &Manifest) -> B256 {
    let mut lines = String::new();
    for file in &manifest.files {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{} {}", file.path, file.sha256);
    }
    sha256(lines.as_bytes())
}

/// A table with a column of each kind that the worker tells apart.
fn table() -> Vec<u8> {
    let mut text = String::from("row,whole,decimal,colour,code,day\n");
    let mut numbers = Numbers(2026);
    for row in 0..ROWS {
        let [whole, decimal, code, rest] = [(); 4].map(|()| numbers.next());
        let colour = ["red", "green", "blue", "black", "white"][(rest % 5) as usize];
        let (month, day) = (rest / 5 % 12 + 1, rest / 60 % 28 + 1);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{row},{},{}.{:06},{colour},{:08x},2026-{month:02}-{day:02}",
            whole % 1_000_000_000,
            decimal % 10_000,
            decimal / 10_000 % 1_000_000,
            code as u32,
        );
    }
    text.into_bytes()
}

/// SplitMix64: the same numbers on every machine and with every version of any library.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_work_is_the_same_everywhere() {
        let table = table();
        assert_eq!((sha256(&table), table.len() as u64), (TABLE_SHA256, TABLE_BYTES));
        for class in HardwareClass::ALL {
            let template = Template::of(class);
            let spec = RentalSpec::from_bytes(&template.spec.to_bytes()).unwrap();
            assert_eq!((spec, template.accelerated, template.nominal(class)), (template.spec.clone(), false, 1.0));
        }
        // SplitMix64's own first numbers for the seed 0.
        let mut numbers = Numbers(0);
        assert_eq!([numbers.next(), numbers.next()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn no_rental_has_the_id_of_measuring() {
        use contracts::ids::BookId;
        assert!(is_run(run_id()) && !run_id().is_none());
        for class in HardwareClass::ALL {
            let book = BookId::for_duration(class.number(), 60, false).unwrap();
            assert!(!is_run(AgreementId::new(book, 0, 0)));
        }
    }
}
